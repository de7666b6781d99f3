import type { EventReader } from './event-reader.js';
import type { EventRecord } from './event-record.js';
import type { ResolvedEvent } from './event-encoding.js';

const LINK_TYPE = '$>';

/** A link event's data is "revision@stream"; its target may be gone, then only the link is delivered. */
export function resolveLink(reader: EventReader, record: EventRecord): ResolvedEvent {
  if (record.type !== LINK_TYPE) return { event: record };
  const text = record.data.toString('utf8');
  const at = text.indexOf('@');
  const revision = Number(text.slice(0, at));
  if (at <= 0 || !Number.isSafeInteger(revision)) return { event: record };
  return { event: reader.readOne(text.slice(at + 1), revision), link: record };
}
