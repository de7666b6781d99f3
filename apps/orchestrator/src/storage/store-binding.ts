// Binds an artifact folder to one event store. Artifacts that no event of the store names may be removed some day, and another store names
// none of them. So the store has a name, which is the id of the first event of a stream of its own. The folder holds that name and refuses
// other stores. docs/design/losses.md says how the server handles each loss.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { s3Address, type ArtifactStore } from '#artifact-store';
import {
  endOf,
  EventCorruptError,
  hasEmbeddedEventStore,
  lastSeenEvent,
  missingIn,
  missingText,
  SeenEvents,
  STORE_NAME_STREAM,
  WrongExpectedRevisionError,
  type EventStore,
  type Position,
  type SeenEvent,
} from '#event-store';
import { counted, EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { lastProjected } from '../event-sourcing/read-models/last-projected.js';
import { RUN_STREAM_PREFIX } from '../pruning-run/record/stored-event.js';
import { HOW_TO_MEND, StoreCondition } from './store-condition.js';

const VIEWS_FILE = 'views.sqlite';
const DIGEST = /[0-9a-f]{64}/g;
const ACCEPTING =
  'start once with --accept-store to give it this folder: artifacts that no event of the store names are then moved to the quarantine ' +
  'after a day, and removed a week later';

type Config = Pick<OrchestratorConfig, 'dataFolder' | 'artifactFolder' | 'bucket' | 'sharesArtifacts' | 'eventStore' | 'acceptStore'>;

export interface StoreBinding {
  condition: StoreCondition;
  seen: SeenEvents;
}

/**
 * Refuses to start where the embedded store's files are missing, since the start would make an empty store in their place. Call it before
 * the embedded store starts.
 * @throws EspalierError EVENTS_MISSING
 */
export async function requireStoreFiles(config: Config, artifacts: ArtifactStore): Promise<void> {
  const { dataFolder, eventStore, acceptStore } = config;
  const folder = join(dataFolder, 'event-store');
  if (eventStore !== undefined || acceptStore || hasEmbeddedEventStore(folder)) return;
  const bound = await artifacts.owner.read();
  const last = lastSeen(dataFolder, bound);
  if (last === null && (bound === null || config.sharesArtifacts)) return; // this is the first start
  const position = last === null ? '' : `: the data folder has seen position ${last.position}`;
  throw new EspalierError('EVENTS_MISSING', `events are missing, since ${folder} holds no event store${position}; ${HOW_TO_MEND}`);
}

/**
 * Binds the artifact folder to the store, or makes sure that it is bound to it.
 * @throws EspalierError ARTIFACTS_OF_ANOTHER_STORE, EVENTS_MISSING
 */
export async function bindStore(config: Config, store: EventStore, artifacts: ArtifactStore, log: Logger): Promise<StoreBinding> {
  const { dataFolder, acceptStore } = config;
  const bound = await artifacts.owner.read();
  const found = await nameOf(store).catch((error: unknown) => {
    // the name is there, and verification says what is wrong with it
    if (error instanceof EventCorruptError && bound !== null) return bound;
    throw error;
  });
  if (!acceptStore) {
    if (bound === null) await requireAgreement(config, store, artifacts);
    else if (bound !== found) throw await notTheSame(config, store, bound, found);
  }
  const name = found ?? (await giveName(store));
  if (bound !== name) {
    await bind(artifacts, placeOf(config), name, bound !== null || !config.sharesArtifacts, log);
    if (bound !== null) log.warn({ bound, name }, `${placeOf(config)} is given to another event store, as --accept-store says`);
  }
  const seen = SeenEvents.open(dataFolder, name, (error) => log.warn({ err: error }, 'the newest event could not be remembered'));
  let missing = seen.last === null ? null : await missingIn(store, seen.last);
  if (missing !== null && acceptStore) {
    log.warn(`${missingText(missing)}; the store is taken as it is, as --accept-store says`);
    seen.forget();
    missing = null;
  }
  if (seen.last === null) {
    const projected = lastProjected(join(dataFolder, VIEWS_FILE)); // the views may be of another store
    if (projected !== null && (await missingIn(store, projected)) === null) seen.note(projected);
  }
  return { condition: new StoreCondition(store, name, seen, missing, log), seen };
}

async function notTheSame(config: Config, store: EventStore, bound: string, found: string | null): Promise<EspalierError> {
  const { dataFolder, sharesArtifacts, eventStore } = config;
  const last = lastSeen(dataFolder, bound);
  const isOwn = eventStore === undefined && (last !== null || !sharesArtifacts);
  if (isOwn && found === null) {
    const position = last === null ? '' : `the data folder has seen position ${last.position}, `;
    const end = (await endOf(store))?.commit ?? 0n;
    return new EspalierError('EVENTS_MISSING', `events are missing: ${position}the event store ends at ${end}; ${HOW_TO_MEND}`);
  }
  if (found !== null && isDamagedName(bound, found))
    return new EspalierError(
      'ARTIFACTS_OF_ANOTHER_STORE',
      `${placeOf(config)} names its event store in the file event-store.id, and that file is damaged: it says ${JSON.stringify(bound)}, ` +
        `and the event store is ${found}. Write that name into the file, and look for other damage with \`espalier verify --all\``,
    );
  return new EspalierError(
    'ARTIFACTS_OF_ANOTHER_STORE',
    `${placeOf(config)} serves event store ${bound}, and this is ${found ?? 'one that no server has worked with'}: ` +
      `use a data folder (--data-folder, or --artifacts) for each event store, or ${ACCEPTING}`,
  );
}

/** Tells whether a name is the other one with some characters changed: names of two stores have nothing in common. */
export function isDamagedName(read: string, name: string): boolean {
  const wrong = Array.from(name).filter((character, at) => read[at] !== character).length;
  return wrong > 0 && wrong <= name.length / 4;
}

const placeOf = ({ bucket, artifactFolder }: Config): string =>
  bucket === undefined ? `the artifact folder ${artifactFolder}` : `the bucket ${s3Address(bucket)}`;

function lastSeen(dataFolder: string, name: string | null): SeenEvent | null {
  return (name === null ? null : lastSeenEvent(dataFolder, name)) ?? lastProjected(join(dataFolder, VIEWS_FILE));
}

/** Checks a folder that does not say whose it is, such as a copied one: the store must hold what the folder knows. */
async function requireAgreement(config: Config, store: EventStore, artifacts: ArtifactStore): Promise<void> {
  const digests = new Set<string>();
  for await (const { digest } of artifacts.list()) digests.add(digest);
  if (digests.size === 0) return;
  const last = lastProjected(join(config.dataFolder, VIEWS_FILE));
  if (last !== null) {
    const missing = await missingIn(store, last);
    if (missing === null) return;
    throw new EspalierError('EVENTS_MISSING', `${missingText(missing)}; ${HOW_TO_MEND}`);
  }
  if (await namesOne(store, digests)) return;
  throw new EspalierError(
    'ARTIFACTS_OF_ANOTHER_STORE',
    `${placeOf(config)} holds ${counted(digests.size, 'artifact')}, and no event of the event store names any of ` +
      `them: use the event store that they belong to, or another folder, or ${ACCEPTING}`,
  );
}

async function namesOne(store: EventStore, digests: ReadonlySet<string>): Promise<boolean> {
  for (let after: Position | undefined; ;) {
    try {
      for await (const { data } of store.readAll({ streamPrefixes: [RUN_STREAM_PREFIX], ...(after === undefined ? {} : { after }) }))
        for (const [digest] of Buffer.from(data).toString('latin1').matchAll(DIGEST)) if (digests.has(digest)) return true;
      return false;
    } catch (error) {
      if (!(error instanceof EventCorruptError)) throw error;
      after = error.position;
    }
  }
}

/**
 * Writes the store's name into the folder. A folder that can't be written is bound at a later start. @throws EspalierError
 * ARTIFACTS_OF_ANOTHER_STORE
 */
async function bind({ owner }: ArtifactStore, place: string, name: string, mayReplace: boolean, log: Logger): Promise<void> {
  try {
    await owner.write(name, mayReplace);
  } catch (error) {
    log.warn({ err: error }, `${place} could not be bound to its event store`);
  }
  const now = await owner.read();
  if (now === name || now === null) return;
  throw new EspalierError('ARTIFACTS_OF_ANOTHER_STORE', `${place} was given to event store ${now} a moment ago`);
}

/**
 * The name of the store: the id of its only event in the name's stream, which a restored backup keeps. Null where no server has worked with
 * the store.
 */
async function nameOf(store: EventStore): Promise<string | null> {
  for await (const { id } of store.read(STORE_NAME_STREAM, { maxCount: 1 })) return id;
  return null;
}

async function giveName(store: EventStore): Promise<string> {
  try {
    await store.append(STORE_NAME_STREAM, [{ id: randomUUID(), type: 'EventStoreNamed', data: Buffer.from('{}') }], 'no_stream');
  } catch (error) {
    if (!(error instanceof WrongExpectedRevisionError)) throw error; // another server was faster
  }
  return (await nameOf(store)) ?? giveName(store);
}
