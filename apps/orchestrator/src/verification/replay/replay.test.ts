// Tests which engine may repeat a recorded segment, with an engine that follows a script.
import { ScriptedEngine } from '../../engines/testing.js';
import { data, launched, model, stateAt, Story } from '../../pruning-run/testing.js';
import { encodeFacts } from '../../pruning-run/record/stored-event.js';
import { ReplayPlanner } from './replay-plan.js';
import { replaySegments } from './replay.js';

/** Replays a run of one segment. @param fingerprint of the engine that repeats it @param before an engine that is lent first */
async function replay(
  fingerprint: string,
  tolerance: number | null,
  before?: ScriptedEngine,
): Promise<{ asked: string[]; refusal: unknown; released: number }> {
  const planner = new ReplayPlanner();
  const { facts } = new Story(launched({ totalSteps: 10 })).start().train(stateAt(10, 0.001));
  encodeFacts(facts, '', () => '').events.forEach((event, revision) => planner.push(event, revision));
  const engine = new ScriptedEngine();
  engine.fingerprint = fingerprint;
  let released = 0;
  const verdicts = replaySegments({
    borrowEngines: async function* () {
      try {
        if (before !== undefined) yield { client: before.client, name: 'first', isOther: true, isLast: false };
        yield { client: engine.client, name: 'other', isOther: true, isLast: true };
        await Promise.resolve();
      } finally {
        released += 1;
      }
    },
    artifacts: {} as never,
    model,
    data,
    segments: planner.segments,
    tolerance,
    recordedSteps: () => [],
    signal: new AbortController().signal,
  });
  const refusal: unknown = await verdicts.next().catch((error: unknown) => error);
  return { asked: engine.asked, refusal, released };
}

test('other numerics are refused before anything is trained, by naming what differs and the way to compare values', async () => {
  const { asked, refusal, released } = await replay('f2', null);
  expect(refusal).toMatchObject({
    code: 'NUMERICS_CHANGED',
    message:
      "steps 0 to 9 were computed on other numerics than this engine has: fingerprint (f1 before, f2 now). So bits can't be compared, " +
      'but values can: with --tolerance of espalier verify (tolerance of VerifyRun), such as 1e-3',
  });
  expect([asked, released]).toEqual([['openSession', 'closeSession'], 1]);
});

test.each([
  ['the same numerics', 'f1', null],
  ['other numerics within a tolerance', 'f2', 1e-3],
])('%s are trained on', async (_, fingerprint, tolerance) => {
  const { asked, refusal } = await replay(fingerprint, tolerance);
  expect(asked.slice(0, 4)).toEqual(['openSession', 'loadTrainingTokens', 'describe', 'initialiseState']);
  expect(refusal).toMatchObject({ message: 'not in the script' }); // the scripted engine trains no segment at once
});

test.each([1e-3, null])(
  'with tolerance %p an engine of other numerics is passed over while another may have the right ones',
  async (tolerance) => {
    const first = new ScriptedEngine();
    first.fingerprint = 'f2';
    const { asked } = await replay('f1', tolerance, first);
    expect(first.asked).toEqual(['openSession', 'closeSession']);
    expect(asked).toContain('initialiseState');
  },
);

test('an engine that can not open the session is passed over too', async () => {
  const first = new ScriptedEngine();
  Object.assign(first.client, { openSession: () => Promise.reject(new Error('no memory')) });
  expect((await replay('f1', null, first)).asked).toContain('initialiseState');
});
