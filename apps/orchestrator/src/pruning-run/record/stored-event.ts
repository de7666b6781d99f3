// Facts to stored bytes and back: canonical JSON, the digest chain over every event of a run, upcasting, unknown types.
import type { NewEvent, StoredEvent } from '#event-store';
import { canonicalJson, sha256Hex } from '../../event-sourcing/canonical-json.js';
import { readCallContext } from './call-context.js';
import { isKnownType, upcast } from './event-versions.js';
import { CURRENT_VERSION } from './event-versions.js';
import type { NewFact, PruningRunEvent, RecordedEvent } from './pruning-run.events.js';
import type { StepsMeasured } from './steps-measured.js';

export const RUN_STREAM_PREFIX = 'pruningRun-';
export const METRICS_STREAM_PREFIX = 'runMetrics-';
export const runStream = (runId: string): string => RUN_STREAM_PREFIX + runId;
/** The run's id, taken from the name of its own stream. */
export const runIdOf = ({ stream }: { stream: string }): string => stream.slice(RUN_STREAM_PREFIX.length);
export const metricsStream = (runId: string): string => METRICS_STREAM_PREFIX + runId;

/** The chain before a run's first event. */
export const CHAIN_START = '';

/**
 * chain = SHA-256(previous chain, newline, event id, newline, event type, newline, stored bytes with `chain` = ""), so a
 * changed byte in any event, its id and type included, breaks the chain at that event. Version 1 left the id out.
 */
function nextChain(previous: string, event: Pick<NewEvent, 'id' | 'type'>, fields: Record<string, unknown>): string {
  return chainOver(previous, event, Number(fields['v']), canonicalJson({ ...fields, chain: '' }));
}

function chainOver(previous: string, { id, type }: Pick<NewEvent, 'id' | 'type'>, version: number, text: string): string {
  const idLine = version >= FIRST_WITH_ID ? `${id}\n` : '';
  return sha256Hex(`${previous}\n${idLine}${type}\n${text}`);
}
const FIRST_WITH_ID = 2;

/** The canonical JSON with `chain`, up to the chain's first character and from behind its last. */
function aroundChain(fields: Record<string, unknown>): [string, string] {
  const names = Object.keys(fields).filter((name) => fields[name] !== undefined);
  const part = (wanted: string[]): string => canonicalJson(Object.fromEntries(wanted.map((name) => [name, fields[name]]))).slice(1, -1);
  const before = part(names.filter((name) => name < 'chain'));
  const after = part(names.filter((name) => name > 'chain'));
  return [`{${before}${before && ','}"chain":"`, `"${after && ','}${after}}`];
}

/** Links facts to the chain and gives each the id at its position of `ids`. */
export function encodeFacts(
  facts: NewFact[],
  previousChain: string,
  idOf: (index: number, fact: NewFact) => string,
): { stored: NewEvent[]; events: PruningRunEvent[] } {
  const stored: NewEvent[] = [];
  const events: PruningRunEvent[] = [];
  let chain = previousChain;
  facts.forEach((fact, index) => {
    const fields: Record<string, unknown> = { ...fact.data, at: fact.at, context: fact.context, v: CURRENT_VERSION };
    const id = idOf(index, fact);
    const [before, after] = aroundChain(fields);
    chain = chainOver(chain, { id, type: fact.type }, CURRENT_VERSION, before + after);
    stored.push({ id, type: fact.type, data: Buffer.from(before + chain + after) });
    events.push({ ...fact, v: CURRENT_VERSION, chain });
  });
  return { stored, events };
}

/** @throws SyntaxError when the bytes are no JSON object */
export function decodeStored(stored: Pick<StoredEvent, 'type' | 'data'>): RecordedEvent {
  const { v, at, chain, context: said, ...fields } = parseObject(stored.data);
  const context = readCallContext(said);
  const envelope = { v: Number(v ?? 0), at: textOf(at), chain: textOf(chain), ...(context === undefined ? {} : { context }) };
  if (!isKnownType(stored.type) || envelope.v > CURRENT_VERSION) {
    return { ...envelope, type: 'Unknown', storedType: stored.type, data: fields };
  }
  return { ...envelope, type: stored.type, data: upcast(stored.type, envelope.v, fields) } as PruningRunEvent;
}

/**
 * What is wrong with an event's bytes, given the chain before it; null when nothing is. Works for unknown types too.
 */
export function chainProblem(previousChain: string, stored: Pick<StoredEvent, 'id' | 'type' | 'data'>): string | null {
  let object: Record<string, unknown>;
  try {
    object = parseObject(stored.data);
  } catch (error) {
    return `not a JSON object: ${(error as Error).message}`;
  }
  if (Buffer.compare(Buffer.from(canonicalJson(object)), stored.data) !== 0) return 'the bytes are not canonical JSON';
  const expected = nextChain(previousChain, stored, object);
  return object['chain'] === expected ? null : `the digest chain is ${String(object['chain'])}, its content gives ${expected}`;
}

export function encodeStepsMeasured(measured: StepsMeasured, id: string): NewEvent {
  return { id, type: 'StepsMeasured', data: Buffer.from(canonicalJson(measured)) };
}

export function decodeStepsMeasured(stored: Pick<StoredEvent, 'data'>): StepsMeasured {
  return parseObject(stored.data) as unknown as StepsMeasured;
}

function parseObject(data: Uint8Array): Record<string, unknown> {
  const value: unknown = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8'));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new SyntaxError('an object was expected');
  return value as Record<string, unknown>;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
