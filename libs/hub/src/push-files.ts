// Publishes files as one commit of a model on the hub.
import { pathToFileURL } from 'node:url';
import { hubAccess, type AccessOptions } from './hub-access.js';
import { HubError } from './hub-error.js';
import { isOffline, type HubName } from './hub-names.js';
import { hubError, repositoryOf } from './hub-repository.js';

/** A file by its path in the repository: a file here, or a text. */
export type PushedFile = { path: string } & ({ file: string } | { text: string });

export interface PushOptions extends AccessOptions {
  /** The first line of the commit. */
  title: string;
  /** A repository that does not exist yet is for its owner alone unless this is set. One that exists stays as it is. */
  isPublic: boolean;
  onProgress?: (doneShare: number) => void;
}

/** @returns the commit, and the address of the model's page @throws HubError, or the signal's reason */
export async function pushFiles(
  name: HubName,
  files: readonly PushedFile[],
  options: PushOptions,
): Promise<{ commit: string; url: string }> {
  const { env = process.env, signal, title, isPublic, onProgress } = options;
  if (isOffline(env)) throw new HubError('HUB_OFFLINE', 'HF_HUB_OFFLINE forbids to ask the hub');
  const access = hubAccess(options);
  const repository = repositoryOf(name);
  if (!access.hasToken) throw new HubError('HUB_ACCESS_DENIED', `a token with the right to write ${repository} is needed: HF_TOKEN`);
  const { commitIter, createRepo } = await import('@huggingface/hub');
  const request = { repo: { type: 'model' as const, name: repository }, fetch: access.fetch, hubUrl: access.endpoint };
  try {
    // Our `fetch` shows the token, which the library would take in one form only.
    const creation = { ...request, visibility: isPublic ? 'public' : 'private' } as unknown as Parameters<typeof createRepo>[0];
    await createRepo(creation).catch((error: unknown) => {
      if ((error as { statusCode?: number }).statusCode !== 409) throw error; // it exists already
    });
    const upload = commitIter({
      ...request,
      title,
      operations: files.map((one) => ({
        operation: 'addOrUpdate',
        path: one.path,
        content: 'file' in one ? pathToFileURL(one.file) : new Blob([one.text]),
      })),
      useXet: false, // LFS takes every file, and compares its SHA-256
      ...(signal === undefined ? {} : { abortSignal: signal }),
    });
    const shares = new Map<string, number>();
    for (let next = await upload.next(); ; next = await upload.next()) {
      if (next.done === true) {
        if (next.value === undefined) throw new HubError('HUB_ANSWER_INVALID', 'the hub names no commit of the upload');
        return { commit: next.value.commit.oid, url: `${access.endpoint}/${repository}` };
      }
      if (next.value.event !== 'fileProgress') continue;
      const { path, progress, state } = next.value;
      shares.set(path, state === 'hashing' ? progress / 10 : 0.1 + progress * 0.9);
      onProgress?.([...shares.values()].reduce((sum, share) => sum + share, 0) / files.length);
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw hubError(error, access, `model ${repository}`);
  }
}
