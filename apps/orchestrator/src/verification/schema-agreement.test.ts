// The checker has its own description of every event. The compiler makes sure that it agrees with the writer's types.
import { eventSchema, isKnownType, schemaProblem, type CheckedEvent, type KnownType } from '#audit';
import type { CallContext } from '../event-sourcing/call-context.js';
import { CURRENT_VERSION, knownTypeNames } from '../pruning-run/record/event-versions.js';
import type { PruningRunEventData, PruningRunEventType } from '../pruning-run/record/pruning-run.events.js';
import { fact, launched, model } from '../pruning-run/testing.js';

type Envelope = { v: 1; at: string; chain: string; context?: CallContext | undefined };
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
/** The checker tests a subject such as export:<digest> by a pattern, so its type there is string. */
type Written<T extends PruningRunEventType> = T extends 'EvaluationRecorded'
  ? Omit<PruningRunEventData<'EvaluationRecorded'>, 'subject'> & { subject: string }
  : PruningRunEventData<T>;
type Agreement = { [T in PruningRunEventType]: Same<CheckedEvent<T>, Written<T> & Envelope> };
type Disagreeing = { [T in PruningRunEventType]: Agreement[T] extends true ? never : T }[PruningRunEventType];
const agreed: [Disagreeing] extends [never] ? true : Disagreeing = true;
const sameNames: Same<KnownType, PruningRunEventType> = true;

test('the same event types on both sides', () => {
  expect(agreed).toBe(true);
  expect(sameNames).toBe(true);
  expect(knownTypeNames.every(isKnownType)).toBe(true);
  expect(isKnownType('RunLaunched') && !isKnownType('toString')).toBe(true);
});

test('a fact as written fits, one with a field too many or too few does not', () => {
  const v = CURRENT_VERSION;
  const envelope = { v, at: '2026-01-02T03:04:05.678Z', chain: 'a'.repeat(64) };
  const { data } = launched();
  expect(eventSchema('RunLaunched', v).safeParse({ ...data, ...envelope }).success).toBe(true);
  expect(eventSchema('RunLaunched', v).safeParse({ ...data, ...envelope, more: 1 }).success).toBe(false);
  expect(eventSchema('RunLaunched', v).safeParse({ ...data, ...envelope, model: { ...model, path: undefined } }).success).toBe(false);
  expect(
    eventSchema('RunPaused', v).safeParse({ ...fact('RunPaused', { step: 1, by: 'request' }).data, ...envelope, by: 'nobody' }).success,
  ).toBe(false);
});

test('a field that this release does not know is told as one of a later release', () => {
  const event = { v: CURRENT_VERSION, at: '2026-01-02T03:04:05.678Z', chain: 'a'.repeat(64), step: 1, by: 'request', why: 'x' };
  expect(schemaProblem(eventSchema('RunPaused', CURRENT_VERSION), event)).toBe(
    'event: has why, which this release does not know: if a later release made it, that release can check it',
  );
});
