// Asks the hub which commit a revision is, and which files the commit has. Only names that may be written to the cache pass.
import type { ListFileEntry } from '@huggingface/hub';
import { isPlainName } from '#files';
import { HubError } from './hub-error.js';
import type { HubAccess } from './hub-access.js';
import type { HubName } from './hub-names.js';

const FILES_MAX = 20_000;
const COMMIT = /^[0-9a-f]{40}$/;

/** A file of a commit. Its digest is the SHA-256 of a large file, and git's SHA-1 of a small one. It is also its name among the blobs. */
export interface HubFile {
  path: string;
  size: number;
  digest: string;
}

export interface Revision {
  commit: string;
  files: HubFile[];
}

export const repositoryOf = ({ organization, name }: HubName): string => `${organization}/${name}`;

/** @throws HubError */
export async function readRevision(access: HubAccess, name: HubName, revision: string): Promise<Revision> {
  const { datasetInfo, listFiles, modelInfo } = await import('@huggingface/hub');
  const repository = repositoryOf(name);
  const request = { fetch: access.fetch, hubUrl: access.endpoint };
  try {
    const asked = { ...request, name: repository, revision };
    const { sha } =
      name.kind === 'model'
        ? await modelInfo({ ...asked, additionalFields: ['sha'] })
        : await datasetInfo({ ...asked, additionalFields: ['sha'] });
    if (typeof sha !== 'string' || !COMMIT.test(sha)) throw new HubError('HUB_ANSWER_INVALID', `the hub names no commit of ${repository}`);
    const files: HubFile[] = [];
    let seen = 0;
    for await (const entry of listFiles({ ...request, repo: { type: name.kind, name: repository }, revision: sha, recursive: true })) {
      if (++seen > FILES_MAX) throw new HubError('HUB_ANSWER_INVALID', `${repository} has more than ${FILES_MAX} files`);
      const file = fileOf(entry);
      if (file !== null) files.push(file);
    }
    return { commit: sha, files };
  } catch (error) {
    throw hubError(error, access, `${name.kind} ${repository}${revision === 'main' ? '' : ` at ${revision}`}`);
  }
}

/** Returns null for folders, and for files whose name, size or digest the cache can't take. They are as if they were not there. */
function fileOf({ type, path, size, oid, lfs }: ListFileEntry): HubFile | null {
  const digest = lfs?.oid ?? oid ?? '';
  const bytes = lfs?.size ?? size;
  const isDigest = (lfs === undefined ? COMMIT : /^[0-9a-f]{64}$/).test(digest);
  return type === 'file' && isPlainName(path) && isDigest && Number.isSafeInteger(bytes) && bytes >= 0
    ? { path, size: bytes, digest }
    : null;
}

/** Turns a refusal of the hub into an error that says what can be done. @param what was asked for */
export function hubError(error: unknown, { hasToken, endpoint }: HubAccess, what: string): unknown {
  const { statusCode: status, message } = error as { statusCode?: number; message?: string };
  if (typeof status !== 'number') return error;
  const own = (message ?? '').slice(0, 300);
  // The hub also answers 401 for a repository that does not exist, and so hides which private ones there are.
  if (status === 401 && !hasToken)
    return new HubError('HUB_NOT_FOUND', `${endpoint} has no ${what}, or it is private: with HF_TOKEN you see what your account may see`);
  if (status === 401) return new HubError('HUB_ACCESS_DENIED', `${endpoint} does not accept the token of HF_TOKEN for ${what}: ${own}`);
  if (status === 403)
    return new HubError(
      'HUB_ACCESS_DENIED',
      `${endpoint} does not let this account read or write ${what}; its page says how to ask: ${own}`,
    );
  if (status === 404) return new HubError('HUB_NOT_FOUND', `${endpoint} has no ${what}`);
  if (status === 429 || status >= 500) return new HubError('HUB_UNREACHABLE', `${endpoint} answers with status ${status}, again and again`);
  return new HubError('HUB_REFUSED', `${endpoint} refuses ${what} with status ${status}: ${own}`);
}
