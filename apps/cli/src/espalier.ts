#!/usr/bin/env node
// The start of the command. Its program may be bundled.
import { pathToFileURL } from 'node:url';
import { programFile } from '#files';

await import(pathToFileURL(programFile(new URL('./main.js', import.meta.url))).href);
