// Tests the stored events of a study with one of them changed. The problem must be reported once, at that event.
import type { StoredEvent } from '#event-store';
import { CHAIN_START, encodeFacts } from '../event-sourcing/event-codec.js';
import { STUDY_STREAM_PREFIX, studyEventTypes, type NewStudyFact } from '../studies/study.events.js';
import { StudyRecords } from './study-records.js';

const at = '2026-01-02T03:04:05.678Z';
const stream = `${STUDY_STREAM_PREFIX}aaaabbbbcccc`;
const facts: NewStudyFact[] = [
  { type: 'StudyLaunched', at, data: { studyId: 'aaaabbbbcccc', name: 'seeds', note: '', atOnce: 1, runs: [] } },
  { type: 'StudyRunLaunched', at, data: { key: 'first', runId: 'run1' } },
  { type: 'StudyRunRefused', at, data: { key: 'second', code: 'MODEL_NOT_FOUND', message: 'gone', field: 'model_path' } },
  { type: 'StudyEnded', at, data: { runsCompleted: 1 } },
];

type Event = Pick<StoredEvent, 'stream' | 'revision' | 'id' | 'type' | 'data'>;

function stored(): Event[] {
  const { stored } = encodeFacts(studyEventTypes, facts, CHAIN_START, (index) => `id-${index}`);
  return stored.map((event, index) => ({ ...event, stream, revision: BigInt(index) }));
}

/** The problems by the revision of their event. */
function problems(events: Event[], runIds = ['run1']): Record<number, string> {
  const records = new StudyRecords();
  const found = Object.fromEntries(
    events.flatMap((event) => {
      const problem = records.problem(event);
      return problem === null ? [] : [[Number(event.revision), problem]];
    }),
  ) as Record<number, string>;
  for (const { subject, detail } of records.strayRuns(new Set(runIds))) found[Number(subject.split(' ').at(-1))] = detail;
  return found;
}

const changed = (event: Event, from: string, to: string): Event => {
  const text = Buffer.from(event.data).toString('utf8');
  expect(text).toContain(from);
  return { ...event, data: Buffer.from(text.replace(from, to)) };
};

test('a record as it was written has no problem', () => {
  expect(problems(stored())).toEqual({});
});

test.each([
  [0, '"seeds"', '"seedz"'],
  [1, '"run1"', '"run1 "'],
  [2, '"gone"', '"here"'],
  [3, '"runsCompleted":1', '"runsCompleted":2'],
])('a changed word in event %d is told there, and nowhere else', (place, from, to) => {
  const events = stored();
  events[place] = changed(events[place]!, from, to);
  expect(Object.keys(problems(events, ['run1', 'run1 ']))).toEqual([String(place)]);
  expect(problems(events)[place]).toMatch(/its chain is [0-9a-f]{64}, its content gives [0-9a-f]{64}/);
});

test('a chain that was changed is told where it stands', () => {
  const events = stored();
  const { chain } = JSON.parse(Buffer.from(events[1]!.data).toString('utf8')) as { chain: string };
  events[1] = changed(events[1]!, chain, '0'.repeat(64));
  expect(Object.keys(problems(events))).toEqual(['1']);
});

test('another type or id of an event is told', () => {
  for (const change of [{ type: 'StudyCancelled' }, { id: 'id-9' }]) {
    const events = stored();
    events[3] = { ...events[3]!, ...change };
    expect(Object.keys(problems(events))).toEqual(['3']);
  }
});

test('bytes that are not JSON, or not its canonical form, are told, and the next event is read on', () => {
  const events = stored();
  expect(problems([events[0]!, changed(events[1]!, '{', '['), events[2]!, events[3]!])[1]).toContain('not a JSON object');
  expect(problems([events[0]!, changed(events[1]!, '{', '{ '), events[2]!, events[3]!])).toEqual({
    1: 'StudyRunLaunched: the bytes are not the canonical form of what they say',
  });
});

test('a study that begins with another event than its launch is told', () => {
  const { stored } = encodeFacts(studyEventTypes, facts.slice(1, 2), CHAIN_START, () => 'id');
  expect(problems([{ ...stored[0]!, stream, revision: 0n }])).toEqual({ 0: 'StudyRunLaunched: a study begins with StudyLaunched' });
});

test('a run that the store has no event of is told at the event that names it', () => {
  expect(problems(stored(), [])).toEqual({ 1: 'the store has no event of its run run1' });
});
