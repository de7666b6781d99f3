// Turns facts of an aggregate into stored bytes and back: canonical JSON, the digest chain over every event of a stream, upcasting of
// earlier versions, and unknown types.
import type { NewEvent, StoredEvent } from '#event-store';
import { readCallContext, type CallContext } from './call-context.js';
import { canonicalJson, sha256Hex } from './canonical-json.js';
import type { EventTypes } from './event-types.js';

/** A fact that was decided and is not stored yet. */
export interface Fact {
  type: string;
  at: string;
  data: object;
  context?: CallContext | undefined;
}
export interface Envelope {
  /** The time of the decision, in ISO 8601 with milliseconds. */
  at: string;
  /** The schema version that the event was stored with. `data` has the fields of the current version. */
  v: number;
  /** The digest chain up to and including this event. */
  chain: string;
  /** The caller who asked for the event. */
  context?: CallContext | undefined;
}
/** An event of a later release, or of another program. It is kept and shown, and does not change the state. */
export interface UnknownEvent extends Envelope {
  type: 'Unknown';
  storedType: string;
  data: Record<string, unknown>;
}

/** The chain before a stream's first event. */
export const CHAIN_START = '';

/**
 * chain = SHA-256(previous chain, newline, event id, newline, event type, newline, stored bytes with `chain` = ""). So a changed byte in
 * any event, its id and type included, breaks the chain at that event.
 */
function chainOver(previous: string, { id, type }: Pick<NewEvent, 'id' | 'type'>, text: string): string {
  return sha256Hex(`${previous}\n${id}\n${type}\n${text}`);
}

/** The canonical JSON with `chain` in two parts: the text before the chain's first character, and the text after its last. */
function aroundChain(fields: Record<string, unknown>): [string, string] {
  const names = Object.keys(fields).filter((name) => fields[name] !== undefined);
  const part = (wanted: string[]): string => canonicalJson(Object.fromEntries(wanted.map((name) => [name, fields[name]]))).slice(1, -1);
  const before = part(names.filter((name) => name < 'chain'));
  const after = part(names.filter((name) => name > 'chain'));
  return [`{${before}${before && ','}"chain":"`, `"${after && ','}${after}}`];
}

/** Links facts to the chain, and gives each the id of its position. */
export function encodeFacts<F extends Fact>(
  types: Pick<EventTypes, 'versionOf'>,
  facts: F[],
  previousChain: string,
  idOf: (index: number, fact: F) => string,
): { stored: NewEvent[]; events: (F & Envelope)[] } {
  const stored: NewEvent[] = [];
  const events: (F & Envelope)[] = [];
  let chain = previousChain;
  facts.forEach((fact, index) => {
    const v = types.versionOf(fact.type);
    const fields: Record<string, unknown> = { ...fact.data, at: fact.at, context: fact.context, v };
    const id = idOf(index, fact);
    const [before, after] = aroundChain(fields);
    chain = chainOver(chain, { id, type: fact.type }, before + after);
    stored.push({ id, type: fact.type, data: Buffer.from(before + chain + after) });
    events.push({ ...fact, v, chain });
  });
  return { stored, events };
}

/** @throws SyntaxError when the bytes are not a JSON object */
export function decodeStored(
  types: EventTypes,
  stored: Pick<StoredEvent, 'type' | 'data'>,
): UnknownEvent | (Envelope & { type: string; data: object }) {
  const { v, at, chain, context: said, ...fields } = parseObject(stored.data);
  const context = readCallContext(said);
  const envelope = { v: Number(v ?? 0), at: textOf(at), chain: textOf(chain), ...(context === undefined ? {} : { context }) };
  if (!types.isKnown(stored.type) || envelope.v > types.versionOf(stored.type)) {
    return { ...envelope, type: 'Unknown', storedType: stored.type, data: fields };
  }
  return { ...envelope, type: stored.type, data: types.upcast(stored.type, envelope.v, fields) };
}

/**
 * Returns the problem of an event's bytes, given the chain before it, or null where the bytes are right. It works for unknown types, too.
 */
export function chainProblem(previousChain: string, stored: Pick<StoredEvent, 'id' | 'type' | 'data'>): string | null {
  let object: Record<string, unknown>;
  try {
    object = parseObject(stored.data);
  } catch (error) {
    return `not a JSON object: ${(error as Error).message}`;
  }
  if (Buffer.compare(Buffer.from(canonicalJson(object)), stored.data) !== 0) return 'the bytes are not canonical JSON';
  const expected = chainOver(previousChain, stored, canonicalJson({ ...object, chain: '' }));
  return object['chain'] === expected ? null : `the digest chain is ${String(object['chain'])}, its content gives ${expected}`;
}

export function parseObject(data: Uint8Array): Record<string, unknown> {
  const value: unknown = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8'));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new SyntaxError('an object was expected');
  return value as Record<string, unknown>;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
