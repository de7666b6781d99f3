// Tests one attempt on a scripted engine. Each test says what is recorded and what the engine does, and expects certain calls to the engine
// and certain facts in the record.
import { EspalierError } from '#protocol';
import { scriptedState, ScriptedEngine } from '../engines/testing.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { launched, stateAt, Story } from '../pruning-run/testing.js';
import { RunAttempt } from './run-attempt.js';
import { World } from './testing.js';

const RUN = 'aaaabbbbcccc';
/** Twenty steps in segments of ten. The target is far away, so no teacher is snapshotted before the end. */
const settings = { totalSteps: 20, warmupSteps: 20, segmentSteps: 10, targetSparsity: 0.005, recipe: 'distill' } as const;
const asked = (engine: ScriptedEngine): string[] => engine.asked.filter((one) => !/^(checkHealth|describe)$/.test(one));

let world: World;
let engine: ScriptedEngine;
beforeEach(() => {
  world = new World();
  engine = new ScriptedEngine();
});

async function attempt(story = new Story(launched(settings, RUN)), trying = engine): Promise<RunAttempt> {
  await world.given(RUN, story.facts);
  const { slot } = world.slot('local-1', trying);
  slot.occupy({ doing: '', runId: RUN });
  return new RunAttempt(world.parts(slot), await world.runs.load(RUN));
}
const segments = (): number[] => world.recorded(RUN).flatMap((type) => (type === 'MasksUpdated' ? [1] : []));

test('a run is trained, evaluated twice and completed; the record names the engine', async () => {
  await (await attempt()).execute();
  expect(asked(engine)).toEqual(['openSession', 'loadTrainingTokens', 'initialiseState', 'train from 0', 'evaluate', 'evaluate']);
  const recorded = world.recorded(RUN);
  expect(recorded.slice(0, 4)).toEqual(['RunLaunched', 'AttemptStarted', 'EngineAttached', 'TeacherAssigned']);
  expect(recorded.slice(-3)).toEqual(['EvaluationRecorded', 'EvaluationRecorded', 'RunCompleted']);
  expect(world.last(RUN, 'EngineAttached')).toMatchObject({ engineName: 'local-1', threads: 2, resumedFromStep: 0 });
  expect(world.last(RUN, 'EvaluationRecorded')).not.toHaveProperty('numericsFingerprint'); // it is that of the training
  expect(world.last(RUN, 'RunCompleted')).toMatchObject({ step: 20, stateDigest: scriptedState(20) });
  expect(world.stored).toContain(scriptedState(20));
});

test('a run that was trained before goes on from its last state', async () => {
  const story = new Story(launched(settings, RUN)).start().train(stateAt(10, 0.001));
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'orchestrator', code: 'ORCHESTRATOR_RESTARTED', message: 'it died' });
  engine.fingerprint = 'f1';
  await (await attempt(story)).execute();
  expect(asked(engine).slice(0, 4)).toEqual(['openSession', 'loadTrainingTokens', 'importState', 'train from 10']);
  expect(world.last(RUN, 'EngineAttached')).toMatchObject({ attempt: 2, resumedFromStep: 10 });
});

test('an engine that dies takes what it did not deliver; what it delivered is recorded before its loss', async () => {
  engine.beforeStep = (step) => {
    if (step === 15) throw new EspalierError('ENGINE_LOST', 'killed by SIGKILL');
  };
  await (await attempt()).execute();
  expect(segments()).toHaveLength(1);
  expect(world.last(RUN, 'EngineLost')).toMatchObject({ attempt: 1, cause: 'engine', code: 'ENGINE_LOST', lastStep: 10 });
});

test('other numerics pause the run, and nothing is trained', async () => {
  const story = new Story(launched(settings, RUN)).start().train(stateAt(10, 0.001));
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'orchestrator', code: 'ORCHESTRATOR_RESTARTED', message: 'it died' });
  await (await attempt(story)).execute();
  expect(world.last(RUN, 'RunPaused')).toMatchObject({ by: 'obstacle', cause: { code: 'NUMERICS_CHANGED' } });
  expect(asked(engine).some((one) => one.startsWith('train'))).toBe(false);
});

test('other numerics evaluate a run whose steps are done, and the record says so', async () => {
  const story = new Story(launched(settings, RUN)).start().train(stateAt(10, 0.001), stateAt(20, 0.002));
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'orchestrator', code: 'ORCHESTRATOR_RESTARTED', message: 'it died' });
  await (await attempt(story)).execute();
  expect(world.recorded(RUN).slice(-4)).toEqual(['EngineAttached', 'EvaluationRecorded', 'EvaluationRecorded', 'RunCompleted']);
  expect(world.last(RUN, 'EngineAttached')).toMatchObject({ evaluatesOnly: true, numericsChangedFrom: 'f1' });
  expect(world.last(RUN, 'EvaluationRecorded')).toMatchObject({ subject: 'masked', numericsFingerprint: engine.fingerprint });
  expect((await world.runs.load(RUN)).numericsFingerprint).toBe('f1');
});

test('an engine that finds too little memory is tried again: the previous engine may still hold it', async () => {
  engine.failures.set('openSession', new EspalierError('OUT_OF_MEMORY', 'there is too little'));
  await (await attempt()).execute();
  expect(world.recorded(RUN).slice(1)).toEqual(['AttemptStarted', 'EngineLost']);
  expect(world.last(RUN, 'EngineLost')).toMatchObject({ code: 'OUT_OF_MEMORY' });
});

test('a pause ends the training at the step that it comes at, and is confirmed there', async () => {
  engine.beforeStep = async (step) => {
    if (step === 5) await world.runs.change(RUN, { kind: 'requestPause' }, { by: BY_SERVER });
    if (step === 6) await new Promise((resolve) => setImmediate(resolve)); // lets the feed tell the attempt
  };
  await (await attempt()).execute();
  const paused = world.last(RUN, 'RunPaused');
  expect(paused).toMatchObject({ by: 'request' });
  expect(paused['step']).toBeLessThan(10);
  expect(world.recorded(RUN)).not.toContain('EngineLost');
});

test('a shutdown pauses the run too; it goes on by itself at the next start', async () => {
  const one = await attempt();
  engine.beforeStep = (step) => {
    if (step !== 3) return;
    world.shutdown.abort(new EspalierError('SHUTTING_DOWN', 'it stops'));
    one.stop();
  };
  await one.execute();
  expect(world.last(RUN, 'RunPaused')).toMatchObject({ by: 'shutdown', step: 4 });
});

test('a job that waits at the engine is done between two segments, and training goes on from where it was', async () => {
  const done: string[] = [];
  const one = await attempt();
  engine.beforeStep = (step) => {
    if (step !== 4) return;
    const job = world.jobs.submit(
      (bench) => Promise.resolve(void done.push(`at step ${segments().length * 10} on ${bench.sessionId}`)),
      { runId: 'other', needsOurFiles: false, doing: 'an export of another run' },
      new AbortController().signal,
    );
    world.jobs.assign(world.jobs.waiting[0]!.id, { name: 'local-1', doing: 'the segment' });
    expect(job.waitingFor).toBe('the segment');
    one.makeRoom();
  };
  await one.execute();
  expect(done).toEqual(['at step 10 on session 1']);
  expect(asked(engine).filter((what) => what.startsWith('train'))).toEqual(['train from 0', 'train from 10']);
  expect(world.recorded(RUN).at(-1)).toBe('RunCompleted');
});

test('an attempt whose run was taken over by another says nothing more', async () => {
  engine.beforeStep = async (step) => {
    if (step === 12)
      await world.runs.change(
        RUN,
        { kind: 'recordEngineLoss', attempt: 1, cause: 'orchestrator', code: 'X', message: 'taken over' },
        { by: BY_SERVER },
      );
    if (step > 12) await new Promise((resolve) => setImmediate(resolve));
  };
  await (await attempt()).execute();
  expect(world.recorded(RUN).at(-1)).toBe('EngineLost');
  expect(world.recorded(RUN).filter((type) => type === 'EngineLost')).toHaveLength(1);
});

/** A run with two snapshots, the second of which instructs next. The run's engine has died. */
function taught(): Story {
  const story = new Story(launched({ ...settings, totalSteps: 40, targetSparsity: 0.5, teacherGapMarks: 1, recipe: 'nuteprune' }, RUN));
  story.start().train(stateAt(10, 0.011), stateAt(20, 0.022));
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'orchestrator', code: 'ORCHESTRATOR_RESTARTED', message: 'it died' });
  return story;
}

test('a teacher is left to an engine that reads it by itself; one that it could not read is sent', async () => {
  engine.fingerprint = 'f1';
  world.artifacts.fileOf = (digest) => `/objects/${digest}`;
  let tries = 0;
  engine.beforeStep = () => {
    tries += 1;
    if (tries === 1) throw new EspalierError('TEACHER_NOT_LOADED', 'its file has another digest');
  };
  await (await attempt(taught())).execute();
  const trained = asked(engine).filter((what) => /^(train|loadTeacher)/.test(what));
  expect(trained.slice(0, 3)).toEqual(['train from 20', 'loadTeacher', 'train from 20']);
  expect(world.recorded(RUN).at(-1)).toBe('RunCompleted');
});

test('a teacher that lies in no file of this machine is sent', async () => {
  engine.fingerprint = 'f1';
  await (await attempt(taught())).execute();
  expect(asked(engine).slice(3, 5)).toEqual(['loadTeacher', 'train from 20']);
});

test('an engine that says after each teacher that it holds none is lost', async () => {
  engine.fingerprint = 'f1';
  engine.client.loadTeacher = () => new Promise((resolve) => setImmediate(resolve, []));
  await (await attempt(taught())).execute();
  expect(world.last(RUN, 'EngineLost')).toMatchObject({ code: 'ENGINE_FAILED' });
});

test('a damaged state is passed over for a whole one before it', async () => {
  const story = new Story(launched({ ...settings, totalSteps: 40 }, RUN)).start().train(stateAt(10, 0.001), stateAt(20, 0.002));
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'orchestrator', code: 'ORCHESTRATOR_RESTARTED', message: 'it died' });
  engine.fingerprint = 'f1';
  engine.failures.set('importState', new EspalierError('ARTIFACT_CORRUPT', 'a byte is wrong'));
  await (await attempt(story)).execute();
  expect(world.last(RUN, 'RunRewound')).toMatchObject({ toStep: 10 });
  expect(asked(engine)).toContain('train from 10');
  expect(world.recorded(RUN).at(-1)).toBe('RunCompleted');
});
