import { count, eventFields, EventVersions, eventVersions, HistoryChecker, isKnownType, schemaProblem, type FormerVersion } from '#audit';
import { CHAIN_START, decodeStored, encodeFacts, type Fact } from '../event-sourcing/event-codec.js';
import { fact, launched, model } from '../pruning-run/testing.js';

test('only names of events are known types', () => {
  expect(isKnownType('RunLaunched') && !isKnownType('toString')).toBe(true);
});

test('a fact as written fits, one with a field too many or too few does not', () => {
  const v = eventVersions.versionOf('RunLaunched');
  const envelope = { v, at: '2026-01-02T03:04:05.678Z', chain: 'a'.repeat(64) };
  const { data } = launched();
  const schema = eventVersions.schema('RunLaunched', v);
  expect(schema.safeParse({ ...data, ...envelope }).success).toBe(true);
  expect(schema.safeParse({ ...data, ...envelope, more: 1 }).success).toBe(false);
  expect(schema.safeParse({ ...data, ...envelope, model: { ...model, path: undefined } }).success).toBe(false);
});

test('a word that no field of this kind has does not fit', () => {
  const v = eventVersions.versionOf('RunPaused');
  const schema = eventVersions.schema('RunPaused', v);
  const paused = { ...fact('RunPaused', { step: 1, by: 'request' }).data, v, at: '2026-01-02T03:04:05.678Z', chain: 'a'.repeat(64) };
  expect(schema.safeParse(paused).success).toBe(true);
  expect(schema.safeParse({ ...paused, by: 'nobody' }).success).toBe(false);
});

test('a field that this release does not know is told as one of a later release', () => {
  const v = eventVersions.versionOf('RunPaused');
  const event = { v, at: '2026-01-02T03:04:05.678Z', chain: 'a'.repeat(64), step: 1, by: 'request', why: 'x' };
  expect(schemaProblem(eventVersions.schema('RunPaused', v), event)).toBe(
    'event: has why, which this release does not know: if a later release made it, that release can check it',
  );
});

describe('an event that had another field in its first version', () => {
  const upcast: FormerVersion['upcast'] = ({ doneSteps, ...same }) => ({ ...same, step: doneSteps });
  const { step: _, ...others } = eventFields.RunCompleted;
  const raised = new EventVersions({ RunCompleted: [{ fields: { ...others, doneSteps: count }, upcast }] });
  const sparsities = { hardSparsity: 0, expectedSparsity: 0, targetSparsity: 0.2 };
  const completed = { stateDigest: 'b'.repeat(64), ...sparsities, trainingSeconds: 1, evaluationError: null };
  const RUN = 'aaaabbbbcccc';

  function history(end: object): { revision: bigint; id: string; type: string; data: Uint8Array }[] {
    const facts: Fact[] = [launched({}, RUN), { type: 'RunCompleted', at: '2026-01-02T03:04:05.678Z', data: end }];
    const { stored } = encodeFacts(new EventVersions({}), facts, CHAIN_START, (index) => `id ${index}`);
    return stored.map((event, index) => ({ ...event, revision: BigInt(index) }));
  }
  function problems(events: ReturnType<typeof history>, versions?: EventVersions): string[] {
    const checker = new HistoryChecker(RUN, versions);
    for (const event of events) checker.push(event);
    return checker.problems.map(({ check }) => check);
  }

  it('has a version of its own', () => {
    expect([raised.versionOf('RunCompleted'), raised.versionOf('RunLaunched')]).toEqual([2, 1]);
  });
  it('is read with the fields of its newest version', () => {
    expect(decodeStored(raised, history({ ...completed, doneSteps: 0 })[1]!).data).toEqual({ ...completed, step: 0 });
  });
  it('is checked by the fields of its own version, and by what these mean', () => {
    expect(problems(history({ ...completed, doneSteps: 0 }), raised)).toEqual([]);
    expect(problems(history({ ...completed, doneSteps: 7 }), raised)).toEqual(['steps']);
    expect(problems(history({ ...completed, step: 0 }), raised)).toEqual(['schema']);
    expect(problems(history({ ...completed, doneSteps: 0 }))).toEqual(['schema']);
  });
});
