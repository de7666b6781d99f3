// Fetches the models and texts that options and files name on the Hugging Face hub. The user's own machine fetches them, with the user's
// own token, into the hub's cache. So a server never asks another one for a caller. A model in a GGUF file becomes a folder here, too.
import { isLoopbackAddress } from '#local-access';
import { isGgufFile } from '#gguf';
import { fetchName, HubError, HubNameError, nameToFetch, textOf, type Fetched, type HubName, type HubProblem } from '#hub';
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { Context } from '../command-context.js';
import { bytes } from '../output/format.js';
import { ShareLine } from '../progress/share-line.js';
import { folderOfGgufShown } from './gguf-files.js';

const EXIT_CODES: Record<HubProblem, number> = {
  HUB_UNREACHABLE: ExitCode.unavailable,
  HUB_ACCESS_DENIED: ExitCode.unavailable,
  HUB_NOT_FOUND: ExitCode.notFound,
  HUB_OFFLINE: ExitCode.notFound,
  HUB_REFUSED: ExitCode.failed,
  HUB_ANSWER_INVALID: ExitCode.failed,
  HUB_FILE_DAMAGED: ExitCode.failed,
  HUB_DISK_FULL: ExitCode.failed,
};

/** Runs work with the hub, and gives its problems an exit code. @param field the option or argument that has the name */
export async function withHub<T>(field: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HubNameError)
      throw new CliError('HUB_OFFLINE', `${error.message} HF_HUB_OFFLINE forbids to fetch it.`, { field, exitCode: ExitCode.notFound });
    if (!(error instanceof HubError)) throw error;
    throw new CliError(error.code, error.message, { field, exitCode: EXIT_CODES[error.code], cause: error });
  }
}

/** Fetches a name with a live line. @param renew asks the hub also where the cache has the name */
export async function fetchShown({ output, signal }: Context, name: HubName, field: string, renew = false): Promise<Fetched> {
  const line = new ShareLine(output, `fetching ${textOf(name)}`);
  const onProgress = (done: number, all: number): void => line.update(all === 0 ? 0 : done / all, '', `${bytes(done)} of ${bytes(all)}`);
  try {
    return await withHub(field, () => fetchName(name, { signal, onProgress, renew, onWait: (words) => line.note(words) }));
  } finally {
    line.end();
  }
}

/** Turns the names in the requests of one command into paths. Each name is fetched once. */
export class HubFiles {
  private readonly fetched = new Map<string, Promise<string[]>>();
  private readonly folders = new Map<string, Promise<string>>();

  constructor(private readonly context: Context) {}

  async model(path: string): Promise<string> {
    const [found = path] = await this.paths(path, '--model');
    if (!isGgufFile(found)) return found;
    let folder = this.folders.get(found);
    if (folder === undefined) {
      requireNearServer(this.context, 'GGUF_ELSEWHERE', '--model', found);
      folder = folderOfGgufShown(this.context, found, '--model');
      this.folders.set(found, folder);
    }
    return folder;
  }

  /** @throws CliError where the name stands for several files, but only one text is possible */
  async text(path: string): Promise<string> {
    const paths = await this.paths(path, '--data');
    const [first, ...others] = paths;
    if (first !== undefined && others.length === 0) return first;
    throw new CliError('OPTION_INVALID', `the split has ${paths.length} files, and one is allowed here: ${paths.join(', ')}`, {
      field: '--data',
      exitCode: ExitCode.usage,
    });
  }

  async source(source: v1.DataSource): Promise<v1.DataSource> {
    const given = [source.trainPath, ...source.moreTrainPaths];
    const train = await Promise.all(given.map((path) => this.paths(path, '--data')));
    const validation = await Promise.all(
      [source.validationPath, ...source.moreValidationPaths].map((path) => this.paths(path, '--validation')),
    );
    const [trainPath = '', ...moreTrainPaths] = train.flat();
    const [validationPath = '', ...moreValidationPaths] = validation.flat();
    // The files of a split share its weight.
    const trainWeights = source.trainWeights.flatMap((weight, index) => train[index]?.map((_, __, { length }) => weight / length) ?? []);
    return { ...source, trainPath, moreTrainPaths, trainWeights, validationPath, moreValidationPaths };
  }

  private paths(path: string, field: string): Promise<string[]> {
    const name = nameToFetch(path);
    if (name === null) return Promise.resolve([path]);
    let found = this.fetched.get(path);
    if (found === undefined) {
      found = this.fetch(name, field);
      this.fetched.set(path, found);
    }
    return found;
  }

  private async fetch(name: HubName, field: string): Promise<string[]> {
    requireNearServer(this.context, 'HUB_NAME_ELSEWHERE', field, `${name.kind === 'dataset' ? '--dataset ' : ''}${textOf(name)}`);
    return (await fetchShown(this.context, name, field)).paths;
  }
}

/** @param pulled the argument of `pull` that fetches the same on the server's machine @throws CliError */
export function requireNearServer(context: Context, code: string, field: string, pulled: string): void {
  const { address } = context.findServer();
  if (isLoopbackAddress(address)) return;
  throw new CliError(code, `the server ${address} is on another machine, and reads the files of its own`, {
    field,
    exitCode: ExitCode.usage,
    hint: `pull this there and name the path that is printed: espalier pull ${pulled}`,
  });
}
