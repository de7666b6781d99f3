#!/usr/bin/env node
// Writes docs/settings.md from the table of settings. A test fails if the page differs from this output.
import { writeFileSync } from 'node:fs';
import { settingsPage } from '../dist/libs/protocol/src/index.js';

writeFileSync(new URL('../docs/settings.md', import.meta.url), settingsPage());
