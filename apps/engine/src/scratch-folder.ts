// A folder for the outlines of offered models. Its name holds the process's id, so that the next engine finds and removes the folder of a
// killed engine.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeFolder } from '#files';

const PREFIX = 'espalier-engine-';

export class ScratchFolder {
  private readonly root: string;
  private folder: string | undefined;

  constructor(root: string | undefined) {
    this.root = root ?? tmpdir();
    makeFolder(this.root);
    for (const name of readdirSync(this.root)) {
      const pid = Number(/^espalier-engine-(\d+)-/.exec(name)?.[1] ?? 0);
      if (pid > 0 && !isAlive(pid)) rmSync(join(this.root, name), { recursive: true, force: true });
    }
  }

  /** Returns a path that does not exist yet, in this process's folder. */
  newPath(): string {
    this.folder ??= mkdtempSync(join(this.root, `${PREFIX}${process.pid}-`));
    return join(mkdtempSync(join(this.folder, 'model-')), 'model');
  }

  clear(): void {
    if (this.folder !== undefined) rmSync(this.folder, { recursive: true, force: true });
    this.folder = undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // the process is alive, but belongs to another user
  }
}
