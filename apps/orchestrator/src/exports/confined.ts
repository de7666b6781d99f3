// Runs a program that reads an export where it reaches little else: without the network, the data folder, other processes and the user's
// home, and with a limit of memory. The kernel's namespaces do that also for users without rights. Where a machine allows none, the program
// runs with the other limits, and the caller learns what it could reach.
import { spawnSync } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { newExportFolder } from '../measurements/artifact-files.js';

/** The memory of a program beside the numbers of the model. */
const OWN_MEMORY_BYTES = 4 * 2 ** 30;
/** Programs hold the numbers as they are stored, as f32, and once more while they are copied. */
const MEMORY_OF_MODEL = 8;

/** Namespaces of which each leaves more in reach than the one before. */
const NAMESPACES: readonly { words: readonly string[]; inReach: string }[] = [
  { words: ['-r', '--net', '--ipc', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'], inReach: '' },
  { words: ['-r', '--net', '--ipc', '--mount'], inReach: 'other processes of the user' },
];
const NO_NAMESPACES = 'the network, the data folder and other processes of the user';

/**
 * Shows the files of the export in a folder of their own, hides the data folder, and gives up the rights by which it did so. The export's
 * files may be links into the data folder, so they are mounted first.
 */
const SCRIPT = `set -e
view=$1 export=$2 hidden=$3
shift 3
mount -t tmpfs -o mode=0700,size=1m tmpfs "$view"
cd "$export"
for file in $(find . ! -type d); do
  mkdir -p "$view/$(dirname "$file")"
  : > "$view/$file"
  mount --bind "$(readlink -f "$file")" "$view/$file"
done
mount -t tmpfs -o mode=0000,size=4k tmpfs "$hidden"
cd "$view"
exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs "$@"`;

export interface Confinement {
  /** The folder of the export, which is the program's own. */
  folder: string;
  modelBytes: number;
  /** A folder that the program must not read. */
  hidden: string;
}

export interface Confined {
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  /** Names in words what the program can reach though it should not; '' where that is nothing. */
  inReach: string;
}

/** @param words the program's words, by the folder in which it finds the export. `use` runs them. */
export async function confined<T>(
  { folder, modelBytes, hidden }: Confinement,
  words: (folder: string) => string[],
  use: (program: Confined) => Promise<T>,
): Promise<T> {
  const own = await newExportFolder();
  const [home, view] = [join(own, 'home'), join(own, 'view')];
  try {
    await mkdir(home);
    await mkdir(view);
    const found = (known ??= await namespaces());
    const limited = (place: string): string[] => ['prlimit', `--data=${OWN_MEMORY_BYTES + MEMORY_OF_MODEL * modelBytes}`, ...words(place)];
    const [command = '', ...args] =
      found === null ? limited(folder) : ['unshare', ...found.words, 'sh', '-c', SCRIPT, 'sh', view, folder, hidden, ...limited(view)];
    return await use({ command, args, env: environment(home), inReach: found === null ? NO_NAMESPACES : found.inReach });
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

type Namespaces = (typeof NAMESPACES)[number];
/** Undefined: not tried yet; null: the machine allows none. */
let known: Namespaces | null | undefined;

/** Finds the namespaces that this machine allows, by a program that does nothing. */
async function namespaces(): Promise<Namespaces | null> {
  const own = await newExportFolder();
  const [view, folder, hidden] = ['view', 'export', 'hidden'].map((name) => join(own, name)) as [string, string, string];
  try {
    for (const path of [view, folder, hidden]) await mkdir(path);
    const works = ({ words }: Namespaces): boolean =>
      spawnSync('unshare', [...words, 'sh', '-c', SCRIPT, 'sh', view, folder, hidden, 'true'], { stdio: 'ignore' }).status === 0;
    return NAMESPACES.find(works) ?? null;
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

/** No variable of the server is passed on but those by which programs and their libraries are found. */
function environment(home: string): NodeJS.ProcessEnv {
  const { PATH, LD_LIBRARY_PATH, PYTHONUSERBASE = join(homedir(), '.local') } = process.env;
  const places = { PATH, PYTHONUSERBASE, ...(LD_LIBRARY_PATH === undefined ? {} : { LD_LIBRARY_PATH }) };
  return { ...places, HOME: home, TMPDIR: home, LANG: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1', CUDA_VISIBLE_DEVICES: '' };
}
