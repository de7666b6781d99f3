// A folder for the outlines of offered models. Its name holds the process, so that the next engine of the same user finds and removes the
// folder of a killed engine.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { clearUnfinishedFiles, makeFolder, unfinishedName } from '#files';

const FOLDER = { before: 'espalier-engine-', after: '.folder' };

export class ScratchFolder {
  private readonly root: string;
  private folder: string | undefined;

  constructor(root: string | undefined) {
    this.root = root ?? tmpdir();
    makeFolder(this.root);
    clearUnfinishedFiles(this.root, { before: new RegExp(FOLDER.before), after: FOLDER.after });
  }

  /** Returns a path that does not exist yet, in this process's folder. */
  newPath(): string {
    this.folder ??= this.newFolder();
    return join(mkdtempSync(join(this.folder, 'model-')), 'model');
  }

  clear(): void {
    if (this.folder !== undefined) rmSync(this.folder, { recursive: true, force: true });
    this.folder = undefined;
  }

  private newFolder(): string {
    const folder = join(this.root, unfinishedName(FOLDER.before, FOLDER.after));
    mkdirSync(folder, { mode: 0o700 }); // other users can't enter it
    return folder;
  }
}
