#!/usr/bin/env node
// Writes docs/settings.md from the table of settings; a test fails where the page is not what this writes.
import { writeFileSync } from 'node:fs';
import { settingsPage } from '../dist/libs/protocol/src/index.js';

writeFileSync(new URL('../docs/settings.md', import.meta.url), settingsPage());
