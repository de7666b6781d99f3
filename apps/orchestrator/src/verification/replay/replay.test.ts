// Tests which engine may repeat a recorded segment, with an engine that follows a script.
import { ScriptedEngine } from '../../engines/testing.js';
import { data, launched, model, stateAt, Story } from '../../pruning-run/testing.js';
import { encodeFacts } from '../../pruning-run/record/stored-event.js';
import { ReplayPlanner } from './replay-plan.js';
import { replaySegments } from './replay.js';

/** Replays a run of one segment. @param fingerprint the numerics of the engine that repeats it */
async function replay(fingerprint: string, tolerance: number | null): Promise<{ asked: string[]; refusal: unknown; released: number }> {
  const planner = new ReplayPlanner();
  const { facts } = new Story(launched({ totalSteps: 10 })).start().train(stateAt(10, 0.001));
  encodeFacts(facts, '', () => '').events.forEach((event, revision) => planner.push(event, revision));
  const engine = new ScriptedEngine();
  engine.fingerprint = fingerprint;
  let released = 0;
  const release = (): Promise<void> => {
    released += 1;
    return Promise.resolve();
  };
  const verdicts = replaySegments({
    borrowEngine: () => Promise.resolve({ client: engine.client, release }),
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
  expect(asked.slice(0, 3)).toEqual(['openSession', 'loadTrainingTokens', 'initialiseState']);
  expect(refusal).toMatchObject({ message: 'not in the script' }); // the scripted engine trains no segment at once
});
