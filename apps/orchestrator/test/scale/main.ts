// Fills a new data folder with made-up runs, to see how the dashboard, the views and the command line bear many of them:
//   npm run scale -- FOLDER [--runs 10000] [--long-steps 1000000] [--events 5000000] [--seed 1]
// With --events, the runs have segments of a few steps, as slow models do, and about this number of events together. Equal seeds give equal
// runs. All runs have ended, and none has artifacts. Afterwards run: espalier --data-folder FOLDER up
import { parseArgs } from 'node:util';
import { join, resolve } from 'node:path';
import { connectEventStore, startEmbeddedEventStore, type EventStore } from '#event-store';
import { fact, launched, sparsities, stateAt, Story, data as source } from '../../src/pruning-run/testing.js';
import type { NewFact } from '../../src/pruning-run/record/pruning-run.events.js';
import type { StepMeasurement } from '../../src/pruning-run/record/steps-measured.js';
import { Recorder, stepMeasured } from '../../src/views/testing.js';
import { Random } from '../chaos/random.js';

const SEGMENT_STEPS = 500;
/** The steps of a segment where events are asked for: those of a model whose step takes a second and a half. */
const SHORT_SEGMENT_STEPS = 10;
const EVENTS_PER_SEGMENT = 3;
/** Batches of metrics have up to 130 kB each, and the event store takes 64 MiB at once. */
const EVENTS_PER_APPEND = 100;
const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567';
const FIRST_LAUNCH = Date.UTC(2026, 0, 1);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string' }, 'long-steps': { type: 'string' }, events: { type: 'string' }, seed: { type: 'string' } },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('name the folder to fill: npm run scale -- FOLDER');
const [runs, longSteps, seed] = [Number(values.runs ?? 10_000), Number(values['long-steps'] ?? 1_000_000), Number(values.seed ?? 1)];
const events = Number(values.events ?? 0);
const segmentSteps = events === 0 ? SEGMENT_STEPS : SHORT_SEGMENT_STEPS;
const random = new Random(seed);

const idOf = (): string => Array.from({ length: 12 }, () => LETTERS[Math.floor(random.next() * LETTERS.length)]!).join('');

/** A loss that falls, with the noise of batches and a bump where the sparsity rises. */
function measuredFor(steps: number, target: number): (step: number) => StepMeasurement {
  const level = 1 + random.next();
  return (step) => {
    const share = step / steps;
    const sparsity = Math.min(1, share / 0.3) * target;
    const loss = level * (0.4 + Math.exp(-6 * share) + 2 * sparsity * Math.exp(-3 * share)) * (0.9 + 0.2 * random.next());
    return {
      ...stepMeasured(step, loss),
      scheduledSparsity: sparsity,
      expectedSparsity: sparsity * (0.99 + 0.02 * random.next()),
      gradientNorm: 0.5 + random.next(),
      seconds: 0.05 + 0.02 * random.next(),
    };
  };
}

/**
 * The steps of one run: 100 to 500 without --events. With --events they follow from a half to three halves of the run's share of the
 * events.
 */
function stepsOfRun(): number {
  if (events === 0) return 100 + 100 * Math.floor(random.next() * 5);
  return Math.max(1, Math.round((events / runs / EVENTS_PER_SEGMENT) * (0.5 + random.next()))) * segmentSteps;
}

function factsOf(runId: string, name: string, steps: number, target: number, launchedAt: number): NewFact[] {
  const start = launched({ totalSteps: steps, targetSparsity: target, segmentSteps }, runId);
  const facts = [{ ...start, data: { ...start.data, name } } as NewFact, ...new Story(start).start().facts.slice(1)];
  let state = stateAt(0, 0);
  for (let first = 0; first < steps; first += segmentSteps) {
    const end = Math.min(steps, first + segmentSteps);
    state = stateAt(end, Math.min(1, end / steps / 0.3) * target);
    const { expectedSparsity, hardSparsity } = state;
    facts.push(
      fact('SparsityAdvanced', { attempt: 1, step: end, scheduledSparsity: expectedSparsity, expectedSparsity, hardSparsity }),
      fact('MasksUpdated', {
        attempt: 1,
        phase: 'prune',
        firstStep: first,
        state,
        loss: { mean: 1, last: 1 },
        trainingSeconds: (end - first) * 0.06,
        tokens: (end - first) * 1024,
        metricsRevision: 0, // the recorder sets it
        metricsDigest: '',
        openDigest: '',
      }),
    );
  }
  facts.push(...endOf(steps, state.stateDigest, target));
  return facts.map((one, index) => ({ ...one, at: new Date(launchedAt + index * 1_000).toISOString() }));
}

function endOf(step: number, stateDigest: string, sparsity: number): NewFact[] {
  const chance = random.next();
  if (chance < 0.05) return [fact('RunFailed', { step, code: 'STEPS_SKIPPED', message: 'most steps were not finite', field: '' })];
  if (chance < 0.12) return [fact('RunCancelled', { step, reason: 'another one was better' })];
  return [
    fact('EvaluationRecorded', {
      subject: 'masked',
      step,
      stateDigest,
      teacherMark: null,
      task: 'text',
      metric: 'perplexity',
      value: 5 + 8 * sparsity + random.next(),
      stderr: null,
      n: 10_000,
      convention: 'windows of 256 tokens',
      details: {},
      dataDigest: source.validationDigest!,
    }),
    fact('RunCompleted', { step, stateDigest, ...sparsities(sparsity), trainingSeconds: step * 0.06, evaluationError: null }),
  ];
}

async function write(store: EventStore, runId: string, facts: NewFact[], measured: (step: number) => StepMeasurement): Promise<number> {
  const { events } = new Recorder(measured).record(runId, facts);
  for (const prefix of ['runMetrics-', 'pruningRun-']) {
    const own = events.filter(({ stream }) => stream.startsWith(prefix));
    for (let at = 0; at < own.length; at += EVENTS_PER_APPEND) {
      const some = own.slice(at, at + EVENTS_PER_APPEND).map(({ id, type, data }) => ({ id, type, data }));
      await store.append(own[0]!.stream, some, 'any');
    }
  }
  return events.length;
}

const started = Date.now();
const server = await startEmbeddedEventStore({ folder: join(resolve(folder), 'event-store') });
const store = connectEventStore(server);
let written = 0;
for (let run = 0; run < runs; run += 1) {
  const [runId, target, steps] = [idOf(), 0.2 + 0.1 * Math.floor(random.next() * 6), stepsOfRun()];
  const name = `${random.pick(['sweep', 'trial', 'paper', 'gentle', 'nightly'])} ${run}`;
  written += await write(store, runId, factsOf(runId, name, steps, target, FIRST_LAUNCH + run * 60_000), measuredFor(steps, target));
}
if (longSteps > 0) {
  const runId = idOf();
  const facts = factsOf(runId, `${longSteps} steps`, longSteps, 0.5, FIRST_LAUNCH + runs * 60_000);
  written += await write(store, runId, facts, measuredFor(longSteps, 0.5));
  console.log(`the long run: ${runId}`);
}
await store.close();
await server.stop();
console.log(`${runs + (longSteps > 0 ? 1 : 0)} runs, ${written} events, in ${((Date.now() - started) / 1000).toFixed(1)} s`);
