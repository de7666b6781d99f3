// Tests that an engine that ends no step in time is given up, unless others had the processors.
import { once } from 'node:events';
import type { EspalierError } from '#protocol';
import { liveEngine } from './testing.js';
import { watchProgress } from './step-watchdog.js';

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test('an engine that runs on and on without ending a step hangs', async () => {
  const engine = liveEngine();
  let ranMs = 0;
  engine.processorUse = () => ({ ranMs: (ranMs += 60_000), waitedMs: 100 });
  watchProgress(engine).alive();
  const lost = once(engine.lost, 'abort');
  jest.advanceTimersByTime(1_000_000);
  await lost;
  expect((engine.lost.reason as EspalierError).code).toBe('ENGINE_HUNG');
});

test('an engine that waits for processors more than it runs has time, until it has them again', () => {
  const engine = liveEngine();
  const use = { ranMs: 0, waitedMs: 0 };
  const [starved, alone] = [5_000, 100];
  let waits = starved;
  engine.processorUse = () => {
    use.ranMs += 1_000;
    use.waitedMs += waits;
    return { ...use };
  };
  watchProgress(engine).alive();
  jest.advanceTimersByTime(10_000_000);
  expect(engine.lost.aborted).toBe(false);
  waits = alone;
  jest.advanceTimersByTime(10_000_000);
  expect(engine.lost.aborted).toBe(true);
});
