// Tests which runs may go on where no engine has the numerics that they were trained with.
import { EspalierError } from '#protocol';
import { ScriptedEngine } from '../engines/testing.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { ResumeRun } from '../run-commands/pruning-run.commands.js';
import { ResumeRunHandler } from '../run-commands/pruning-run.command-handlers.js';
import type { StartingPoint } from '../pruning-run/aggregate/starting-points.js';
import { fact, launched, stateAt, Story } from '../pruning-run/testing.js';
import { World } from './testing.js';

const RUN = 'aaaabbbbcccc';
const FROM_TEACHER: StartingPoint = { kind: 'mark', mark: 1 };
const FROM_LAST: StartingPoint = { kind: 'last' };
const quota = { launching: (_by: unknown, _runId: string, work: () => unknown) => work() } as never;
const pools: EnginePool[] = [];

const engineOf = (fingerprint: string): ScriptedEngine => Object.assign(new ScriptedEngine(), { fingerprint });
/** A run of 20 steps with two teachers, trained on numerics "f1". */
const trained = (): Story =>
  new Story(launched({ totalSteps: 20, targetSparsity: 0.5 }, RUN)).start().train(stateAt(10, 0.012), stateAt(20, 0.023));
const completed = (): Story => {
  const story = trained();
  story.when({ kind: 'complete', attempt: 1, evaluationError: null });
  return story;
};
const paused = (): Story => {
  const story = new Story(launched({ totalSteps: 20 }, RUN)).start().train(stateAt(10, 0.012));
  story.facts.push(fact('RunPaused', { step: 10, by: 'request' }));
  return story;
};

afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.stop();
});

/** Resumes the run where this engine is, and returns the refusal, or null, with the types of what was recorded. */
async function resumed(story: Story, from: StartingPoint, engine: ScriptedEngine | Error, accept = false) {
  const world = new World();
  await world.given(RUN, story.facts);
  const pool = new EnginePool([world.slot('local-1', engine).slot]);
  pools.push(pool);
  const handler = new ResumeRunHandler(world.runs, quota, pool);
  const refusal = await handler.execute(new ResumeRun(RUN, from, accept, BY_SERVER)).then(
    () => null,
    (error: unknown) => error as EspalierError,
  );
  return { refusal, recorded: world.recorded(RUN).slice(story.facts.length) };
}

test('a run that has ended stays so where no engine has its numerics, and the refusal says what differs', async () => {
  const { refusal, recorded } = await resumed(completed(), FROM_TEACHER, engineOf('f2'));
  expect(refusal).toMatchObject({ code: 'NUMERICS_CHANGED', field: 'accept_other_numerics' });
  expect(refusal!.message).toMatch(
    /^run aaaabbbbcccc was trained on other numerics \(release \S+, f1\) than engine local-1, where it would go on, has: fingerprint \(f1 /,
  );
  expect(recorded).toEqual([]);
});

test('a paused run stays so too, and its user may accept the other numerics', async () => {
  const other = (): ScriptedEngine => engineOf('f2');
  expect(await resumed(paused(), FROM_LAST, other())).toMatchObject({ refusal: { code: 'NUMERICS_CHANGED' }, recorded: [] });
  expect(await resumed(paused(), FROM_LAST, other(), true)).toEqual({ refusal: null, recorded: ['RunResumed'] });
  expect(await resumed(completed(), FROM_TEACHER, other(), true)).toEqual({ refusal: null, recorded: ['RunRewound'] });
});

test('a run goes on where an engine has its numerics', async () => {
  expect(await resumed(completed(), FROM_TEACHER, engineOf('f1'))).toEqual({ refusal: null, recorded: ['RunRewound'] });
});

test('a run waits for an engine that gives no answer now, since it may have the numerics', async () => {
  const broken = new EspalierError('ENGINE_UNAVAILABLE', 'it does not start');
  expect(await resumed(completed(), FROM_TEACHER, broken)).toEqual({ refusal: null, recorded: ['RunRewound'] });
});

test('a run of which all steps are done is evaluated on any numerics', async () => {
  const story = trained();
  story.facts.push(fact('RunPaused', { step: 20, by: 'request' }));
  expect(await resumed(story, FROM_LAST, engineOf('f2'))).toEqual({ refusal: null, recorded: ['RunResumed'] });
});

test('a mistake in the request is told before the numerics', async () => {
  const missing: StartingPoint = { kind: 'mark', mark: 9 };
  expect(await resumed(completed(), missing, engineOf('f2'))).toMatchObject({ refusal: { code: 'TEACHER_NOT_FOUND' }, recorded: [] });
});
