// Checks the records of studies, of models without a run, and of pages, as VerifyAll meets their events in the order of the store: the
// digest chain of each, and the runs that a study names.
import { canonicalJson, ChainChecker } from '#audit';
import type { StoredEvent } from '#event-store';
import { parseObject } from '../event-sourcing/event-codec.js';
import { MODEL_STREAM_PREFIX } from '../models/model.events.js';
import { PAGE_STREAM_PREFIX } from '../pages/page.events.js';
import { STUDY_STREAM_PREFIX } from '../studies/study.events.js';

interface Record {
  chain: ChainChecker;
  launched: { runId: string; revision: bigint }[];
}

const isOfStudy = (stream: string): boolean => stream.startsWith(STUDY_STREAM_PREFIX);
/** The name of the check for a stream; null: the stream is of none of them. */
export function checkOf(stream: string): 'studies' | 'models' | 'pages' | null {
  if (isOfStudy(stream)) return 'studies';
  if (stream.startsWith(PAGE_STREAM_PREFIX)) return 'pages';
  return stream.startsWith(MODEL_STREAM_PREFIX) ? 'models' : null;
}
const subjectOf = (stream: string, revision: bigint): string => `study ${stream.slice(STUDY_STREAM_PREFIX.length)} event ${revision}`;

export class StudyRecords {
  private readonly records = new Map<string, Record>();

  get studies(): number {
    return [...this.records.keys()].filter(isOfStudy).length;
  }

  unreadable(stream: string): void {
    this.of(stream).chain.lose();
  }

  /** Returns the problem of the next event of its stream, or null where the event is right. */
  problem({ stream, revision, id, type, data }: Pick<StoredEvent, 'stream' | 'revision' | 'id' | 'type' | 'data'>): string | null {
    const isFirst = !this.records.has(stream);
    const record = this.of(stream);
    let fields: { [name: string]: unknown };
    try {
      fields = parseObject(data);
    } catch (error) {
      record.chain.lose();
      return `${type}: the bytes are not a JSON object (${(error as Error).message})`;
    }
    const broken = record.chain.problem({ id, type }, fields);
    if (canonicalJson(fields) !== Buffer.from(data).toString('utf8'))
      return `${type}: the bytes are not the canonical form of what they say`;
    if (broken !== null) return broken;
    if (isFirst && isOfStudy(stream) && type !== 'StudyLaunched') return `${type}: a study begins with StudyLaunched`;
    if (type === 'StudyRunLaunched') record.launched.push({ runId: String(fields['runId']), revision });
    return null;
  }

  /** The events that name a run of which the store has no event. */
  *strayRuns(runIds: ReadonlySet<string>): Iterable<{ subject: string; detail: string }> {
    for (const [stream, { launched }] of this.records) {
      for (const { runId, revision } of launched)
        if (!runIds.has(runId)) yield { subject: subjectOf(stream, revision), detail: `the store has no event of its run ${runId}` };
    }
  }

  private of(stream: string): Record {
    let record = this.records.get(stream);
    if (record === undefined) this.records.set(stream, (record = { chain: new ChainChecker(), launched: [] }));
    return record;
  }
}
