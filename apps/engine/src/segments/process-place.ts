// The place of one process in a folder that several engines share. The kernel locks it for the life of the process, so another process can
// tell whether its files are in use.
import { readdirSync, renameSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { clearUnfinishedFiles } from '#files';
import { lockFolder, type Hold } from '../shared-folder.js';

const PLACE = /^\d+$/;
const PLACES_MAX = 1_000;

export class Place {
  private constructor(
    private readonly root: string,
    readonly folder: string,
    private readonly hold: Hold,
  ) {}

  /** Takes the first place that no living process has. */
  static in(root: string): Place {
    for (let place = 0; place < PLACES_MAX; place += 1) {
      const folder = join(root, String(place));
      const hold = lockFolder(folder, { exclusive: true });
      if (hold !== null) return new Place(root, folder, hold);
    }
    throw new Error(`${PLACES_MAX} engines use it`);
  }

  release(): void {
    this.hold.release();
  }

  /** Moves the files of processes that have ended here. Yields, for each file, what the first group of the pattern finds in its name. */
  *takeOver(files: RegExp, leftOver: { before: RegExp; after: string }): Generator<string> {
    yield* this.takeFrom(this.root, files); // earlier builds had no places
    for (const other of readdirSync(this.root)) {
      const folder = join(this.root, other);
      if (!PLACE.test(other) || folder === this.folder) continue;
      const hold = lockFolder(folder, { exclusive: true });
      if (hold === null) continue;
      try {
        yield* this.takeFrom(folder, files);
        clearUnfinishedFiles(folder, leftOver);
        if (readdirSync(folder).length === 0) rmdirSync(folder);
      } finally {
        hold.release();
      }
    }
  }

  private *takeFrom(folder: string, files: RegExp): Generator<string> {
    for (const file of readdirSync(folder)) {
      const name = files.exec(file)?.[1];
      if (name === undefined) continue;
      try {
        renameSync(join(folder, file), join(this.folder, file));
      } catch {
        continue; // another engine has taken it
      }
      yield name;
    }
  }
}
