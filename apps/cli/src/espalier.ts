#!/usr/bin/env node
// Where the command begins: its program may be bundled.
import { pathToFileURL } from 'node:url';
import { programFile } from '#files';

await import(pathToFileURL(programFile(new URL('./main.js', import.meta.url))).href);
