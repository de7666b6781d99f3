// Tests what the workbench asks of an engine. Each test says what the engine got before and what it has to get now.
import type { ArtifactStore } from '#artifact-store';
import { liveEngine, ScriptedEngine, scriptedState } from '../engines/testing.js';
import { planTraining } from '../pruning-run/planning/training-plan.js';
import { launched, stateAt, Story } from '../pruning-run/testing.js';
import { EngineWorkbench } from './engine-workbench.js';

let engine: ScriptedEngine;
let bench: EngineWorkbench;
const story = (more = {}): Story =>
  new Story(launched({ totalSteps: 20, warmupSteps: 20, segmentSteps: 10, targetSparsity: 0.005, ...more }));
const fresh = story().state;
const artifacts = {
  async *open() {
    await Promise.resolve();
    yield new Uint8Array(8);
  },
} as unknown as ArtifactStore;

beforeEach(() => {
  engine = new ScriptedEngine();
  bench = new EngineWorkbench(liveEngine(engine), artifacts, 2, { name: 'engine', log: { info: () => undefined, warn: () => undefined } });
});

test('what is there is not brought again', async () => {
  for (let time = 0; time < 2; time += 1) {
    await bench.bringModel(fresh);
    await bench.bringTokens(fresh);
    await bench.bringState(fresh, null);
    await bench.bringTeacher({ kind: 'snapshot', mark: 1, stateDigest: scriptedState(3) });
  }
  expect(engine.asked).toEqual(['openSession', 'loadTrainingTokens', 'initialiseState', 'loadTeacher']);
  expect(bench.holds(fresh)).toBe(true);
});

test('another session takes tokens, state and teachers with it', async () => {
  await bench.bringModel(fresh);
  await bench.bringTokens(fresh);
  await bench.bringState(fresh, null);
  await bench.bringModel(story({ batchSize: 4 }).state);
  expect(bench.holds(fresh)).toBe(false);
  expect(bench.teachers(() => true).teachersHeld).toBe(0);
});

test('runs of equal model and settings share a session, not a state', async () => {
  await bench.bringModel(fresh);
  await bench.bringState(fresh, null);
  const other = { ...story({ seed: '99' }).state, runId: 'zzzzzzzzzzzz' };
  await bench.bringModel(other);
  expect(bench.runId).toBe('zzzzzzzzzzzz');
  expect(bench.holds(other)).toBe(false);
  await bench.bringState(other, null);
  expect(engine.asked).toEqual(['openSession', 'initialiseState', 'initialiseState']);
});

test('a state of another rank may take the teachers with it, so they are brought again where recovery widens LoRA', async () => {
  const teacher = { kind: 'snapshot', mark: 1, stateDigest: scriptedState(3) } as const;
  for (const [recoverLoraRank, held] of [
    [0, true],
    [4, false],
  ] as const) {
    const run = story({ recoverLoraRank }).state;
    await bench.bringModel(run);
    await bench.bringState(run, null);
    await bench.bringTeacher(teacher);
    await bench.bringState(run, { ...stateAt(20, 0.004), stateDigest: scriptedState(20) });
    expect(bench.holdsTeacher(teacher)).toBe(held);
  }
});

async function trainOn(): Promise<void> {
  const teachers = bench.teachers(() => true);
  for await (const _ of bench.train(fresh, planTraining(fresh, teachers), 0, new AbortController().signal));
}

test('after training it holds the state that the engine has said it ended in', async () => {
  await bench.bringModel(fresh);
  await bench.bringState(fresh, null);
  await trainOn();
  const trained = { ...fresh, current: { ...stateAt(20, 0.004), stateDigest: scriptedState(20) } };
  expect(bench.holds(trained)).toBe(true);
});

test('after a training that broke off the contents of the engine are unknown, so the state is brought again', async () => {
  engine.beforeStep = (step) => {
    if (step === 5) throw new Error('lost');
  };
  await bench.bringModel(fresh);
  await bench.bringState(fresh, null);
  await expect(trainOn()).rejects.toThrow('lost');
  expect(bench.holds(fresh)).toBe(false);
  await bench.bringState(fresh, null);
  expect(engine.asked.at(-1)).toBe('initialiseState');
});

test('a failed upload leaves nothing that would be taken for it', async () => {
  await bench.bringModel(fresh);
  engine.failures.set('loadTrainingTokens', new Error('damaged'));
  await expect(bench.bringTokens(fresh)).rejects.toThrow('damaged');
  await bench.bringTokens(fresh);
  expect(engine.asked.filter((one) => one === 'loadTrainingTokens')).toHaveLength(2);
});
