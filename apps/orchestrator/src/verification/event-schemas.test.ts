import { eventSchema, isKnownType, schemaProblem } from '#audit';
import { CURRENT_VERSION } from '../pruning-run/record/event-versions.js';
import { fact, launched, model } from '../pruning-run/testing.js';

test('only names of events are known types', () => {
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
