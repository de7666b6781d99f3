// A folder or a bucket with backups of one server. The events of each backup and the list of its artifacts are artifacts themselves, so all
// bytes are named by their digests, and what two backups share lies there once. A note with the name of the backup is written last.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ArtifactStore, Notes } from '#artifact-store';
import { inTemporaryFolder } from '#files';
import { isLoopbackHost } from '#local-access';
import { CliError, ExitCode, invalidOption } from '../cli-error.js';

const FORMAT = 1;
/** Room for the files that are on their way to or from a bucket. None of them is used twice. */
const CACHE_BYTES = 0;
/** The files of a place of artifacts, with or without backups, and the `lost+found` of a file system's root. */
const OWN = /^(objects|incoming|quarantine|notes|event-store\.id(\..*)?|lost\+found)$/;
const NOTE = /^(\d{4}-\d{2}-\d{2}T\d{6}\.\d{3}Z)\.json$/;

export interface PlaceOptions {
  s3Endpoint?: string | undefined;
  s3Region?: string | undefined;
}

interface NamedPlace extends PlaceOptions {
  /** The folder or the address, as the user named it. */
  given: string;
  option: string;
  /** Whether a folder that is not there is made. */
  isNew?: boolean;
}

export interface ListedArtifact {
  digest: string;
  bytes: number;
}

export interface Backup {
  format: number;
  name: string;
  /** The moment at which the backup holds the server. */
  at: string;
  release: string;
  /** The name of the event store, which the artifacts know too. */
  storeName: string;
  events: { digest: string; bytes: number; count: number; streams: number; endPosition: number };
  artifacts: { list: string; count: number; bytes: number };
  /** Whether the server had a fleet, whose jobs may outlive it. */
  fleet: boolean;
}

export interface BackupPlace {
  /** The place as the user named it. */
  words: string;
  store: ArtifactStore;
  notes: Notes;
}

/** Opens a folder or a bucket for as long as the work lasts. */
export async function withPlace<T>(
  { given, option, isNew = false, s3Endpoint: endpoint, s3Region: region }: NamedPlace,
  work: (place: BackupPlace) => Promise<T>,
): Promise<T> {
  const { isS3Address, openArtifactStore, openNotes, parseS3Address, s3AddressProblem } = await import('#artifact-store');
  if (!isS3Address(given)) {
    const location = { folder: resolve(given) };
    if (!isNew && !existsSync(location.folder))
      throw new CliError('FILE_UNUSABLE', `there is no folder ${location.folder}`, { field: option, exitCode: ExitCode.notFound });
    if (isNew) requireNoOthers(location.folder, option);
    return work({ words: location.folder, store: await openArtifactStore(location), notes: await openNotes(location) });
  }
  const problem = s3AddressProblem(given);
  if (problem !== null) throw invalidOption(option, given, `${problem}; s3://BUCKET/PREFIX is allowed`);
  if (endpoint !== undefined) requireEndpoint(endpoint);
  return inTemporaryFolder('backup', async (cacheFolder) => {
    const location = { ...parseS3Address(given), endpoint, region, cacheFolder, cacheBytes: CACHE_BYTES };
    return work({ words: given, store: await openArtifactStore(location), notes: await openNotes(location) });
  });
}

/** A folder with files of other programs is left alone. @throws CliError BACKUP_FILE_FOREIGN */
function requireNoOthers(folder: string, option: string): void {
  const other = existsSync(folder) ? readdirSync(folder).find((name) => !OWN.test(name)) : undefined;
  if (other === undefined) return;
  throw new CliError(
    'BACKUP_FILE_FOREIGN',
    `${folder} holds ${JSON.stringify(other)}; a new folder, or one of earlier backups is allowed`,
    {
      field: option,
      exitCode: ExitCode.notAllowed,
    },
  );
}

function requireEndpoint(endpoint: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopbackHost(url.hostname))) return;
  throw invalidOption('--s3-endpoint', endpoint, 'https://HOST or https://HOST:PORT is allowed, and http:// on this machine');
}

/** The names of the backups of a place, the oldest first. */
export async function backupNames({ notes }: BackupPlace): Promise<string[]> {
  return (await notes.names()).flatMap((name) => NOTE.exec(name)?.[1] ?? []);
}

/** Returns a name by the moment, which no other backup of the place has. Names sort by their moments. */
export async function newName(place: BackupPlace, at: Date): Promise<string> {
  const taken = new Set(await backupNames(place));
  for (let moment = at.getTime(); ; moment += 1) {
    const name = new Date(moment).toISOString().replaceAll(':', '');
    if (!taken.has(name)) return name;
  }
}

export async function writeBackup({ notes }: BackupPlace, backup: Omit<Backup, 'format'>): Promise<void> {
  await notes.write(`${backup.name}.json`, `${JSON.stringify({ format: FORMAT, ...backup }, null, 1)}\n`);
}

/** @param name undefined: the newest. @throws CliError BACKUP_NOT_FOUND, BACKUP_DAMAGED */
export async function readBackup(place: BackupPlace, name: string | undefined): Promise<Backup> {
  const wanted = name ?? (await backupNames(place)).at(-1);
  const text = wanted === undefined ? null : await place.notes.read(`${wanted}.json`);
  if (text === null)
    throw new CliError('BACKUP_NOT_FOUND', `${place.words} holds no backup${wanted === undefined ? '' : ` ${wanted}`}`, {
      exitCode: ExitCode.notFound,
      hint: `espalier backups ${place.words} lists those that are there`,
    });
  try {
    const backup = JSON.parse(text) as Backup;
    if (backup.format === FORMAT && isDigest(backup.events.digest) && isDigest(backup.artifacts.list)) return backup;
  } catch {
    // reported below
  }
  throw damaged(`the note of backup ${wanted} can't be read by this release`);
}

export const damaged = (problem: string): CliError => new CliError('BACKUP_DAMAGED', problem, { exitCode: ExitCode.failed });

export const listText = (artifacts: readonly ListedArtifact[]): string =>
  artifacts
    .map(({ digest, bytes }) => `${digest} ${bytes}\n`)
    .sort()
    .join('');

/** Reads the list of a backup's artifacts. Its digest proves it. @throws CliError BACKUP_DAMAGED */
export async function artifactsOf({ store }: BackupPlace, { name, artifacts }: Backup): Promise<ListedArtifact[]> {
  const text = Buffer.from(await store.get(artifacts.list)).toString('utf8');
  if (createHash('sha256').update(text).digest('hex') !== artifacts.list)
    throw damaged(`the list of artifacts of backup ${name} is damaged`);
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({ digest: line.slice(0, 64), bytes: Number(line.slice(65)) }));
}

/** Copies an artifact, with its slices where it has some. Both stores check the bytes against the digest. */
export async function copyArtifact(from: ArtifactStore, to: ArtifactStore, digest: string): Promise<void> {
  const [slices, { mediaType } = { mediaType: undefined }] = [await from.slicesOf(digest), (await from.stat(digest)) ?? undefined];
  const options = { expectedDigest: digest, ...(slices === null ? {} : { slices }), ...(mediaType === undefined ? {} : { mediaType }) };
  await to.put(from.open(digest), options);
}

function isDigest(text: unknown): boolean {
  return typeof text === 'string' && /^[0-9a-f]{64}$/.test(text);
}
