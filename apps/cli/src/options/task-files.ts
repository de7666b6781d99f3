// Makes the folder of the tasks' data from the data sets of the Hugging Face hub that the tasks name, each at one commit. The user's own
// machine fetches them, and the server sees a folder.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { digestOfFile, makeFolder } from '#files';
import { cachedPath, hubName, HubNameError } from '#hub';
import { CliError, ExitCode } from '../cli-error.js';
import type { Context } from '../command-context.js';
import { fetchShown, requireNearServer } from './hub-files.js';

const FIELD = '--tasks';

/** Returns a folder with a folder of links for each task. @param names as `findTasks` takes them @throws CliError */
export async function folderOfTasks(context: Context, names: readonly string[]): Promise<string> {
  const { findTasks, TaskError } = await import('#tasks');
  const { scored } = await findTasks(names).catch((error: unknown) => {
    if (!(error instanceof TaskError)) throw error;
    throw new CliError(error.code, error.message, { field: FIELD, exitCode: ExitCode.usage, cause: error });
  });
  const without = scored.filter(({ data }) => data.hub === undefined).map(({ task }) => task);
  if (without.length > 0)
    throw new CliError('OPTIONS_CONFLICT', `${without.join(', ')} names no data set of the hub, so --task-data is needed`, {
      field: '--task-data',
      exitCode: ExitCode.usage,
      hint: 'a folder with a folder for each task: docs/tasks.md',
    });
  const links: { folder: string; name: string; target: string }[] = [];
  for (const { data } of scored)
    for (const [split, file] of Object.entries(data.hub?.files ?? {})) {
      const target = await fetchedFile(context, data.hub!.name, file);
      links.push({ folder: data.folder, name: basename(file.path).replace(/^[^.]*/, split), target });
    }
  return linked(links);
}

async function fetchedFile(
  context: Context,
  repository: string,
  { path, sha256 }: { path: string; sha256?: string | undefined },
): Promise<string> {
  const name = hubName(`${repository}/${path}`, 'dataset')!;
  let found: string | null = null;
  try {
    found = cachedPath(name, process.env);
  } catch (error) {
    if (!(error instanceof HubNameError)) throw error; // otherwise the cache lacks the file
  }
  if (found === null) {
    requireNearServer(context, 'HUB_NAME_ELSEWHERE', FIELD, `--dataset ${repository}/${path}`);
    found = (await fetchShown(context, name, FIELD)).paths[0]!;
  }
  const digest = sha256 === undefined ? sha256 : await digestOfFile(found, context.signal);
  if (digest === sha256) return found;
  throw new CliError('HUB_FILE_DAMAGED', `${found} has the SHA-256 ${digest}; by the task ${path} of ${repository} has ${sha256}`, {
    field: FIELD,
    exitCode: ExitCode.failed,
    hint: 'remove that file, and it is fetched again',
  });
}

/** Equal links have the same folder, so it never changes, and one that a killed process left is completed. */
async function linked(links: readonly { folder: string; name: string; target: string }[]): Promise<string> {
  const digest = createHash('sha256').update(JSON.stringify(links)).digest('hex');
  const { XDG_CACHE_HOME } = process.env;
  const folder = join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'espalier', 'tasks', digest);
  for (const { folder: task, name, target } of links) {
    makeFolder(join(folder, task));
    const link = join(folder, task, name);
    await symlink(target, link).catch((error: unknown) => {
      if (!existsSync(link)) throw error; // otherwise it is there already
    });
  }
  return folder;
}
