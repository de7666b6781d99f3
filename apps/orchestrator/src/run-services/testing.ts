// Notes of jobs in folders of their own.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JobNotes } from './job-notes.js';

/** Returns a function that makes folders, which are removed after the tests of the file that calls this. */
export function withFolders(): () => string {
  const folders: string[] = [];
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  return () => {
    const folder = mkdtempSync(join(tmpdir(), 'espalier-jobs-'));
    folders.push(folder);
    return folder;
  };
}

export const notesIn = (dataFolder: string): JobNotes => new JobNotes({ dataFolder }, { warn: () => undefined });
