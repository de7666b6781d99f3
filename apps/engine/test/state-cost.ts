// node dist/apps/engine/test/state-cost.js [STATES] [teachers]
//
// The processor time that the states of a run cost the engine, beyond the steps between them: the same steps are trained with a state
// after each, and with one at their end. The model is the bundled one at LoRA's default rank, the batch as small as it can be. With
// `teachers` each state is kept as a teacher too.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Session } from '#native-engine';
import { engineV1 } from '#protocol';
import { sessionSettings, trainingSettings } from '../../../native-engine/testing.js';
import { train, type TrainingOptions } from '../src/training/training.js';

const [states = '20', kind] = process.argv.slice(2);
const count = Number(states);
const modelFolder = fileURLToPath(new URL('../../../../examples/models/factbook-llama-3m', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-state-cost-'));
const settings = sessionSettings({ batchSize: 1, sequenceLength: 16, loraRank: 64 });
const session = await Session.open({ modelFolder, settings, threads: 1 });
try {
  await session.setData(new Uint32Array(3200).map((_, at) => (at * at * 7 + at) % 2048));
  await session.initialise(7n);
  let step = 0;
  const steps = async (segmentSteps: number, segments: number): Promise<number> => {
    const began = process.cpuUsage();
    for (let call = 0; call < segments; call += 1) {
      const options = optionsOf(step, segmentSteps);
      const made: Promise<unknown>[] = [];
      await train(
        session,
        options,
        new AbortController().signal,
        () => true,
        (all) => {
          for (const one of all) if ('segment' in one) made.push(one.segment.digest, one.segment.stateFile);
        },
      );
      await Promise.all(made);
      step += segmentSteps;
    }
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1000;
  };
  await steps(1, 3); // the first pass compiles code and allocates memory
  const once = await steps(count, 1);
  const each = await steps(1, count);
  console.log(
    JSON.stringify({ states: count, teachers: kind === 'teachers', ms_a_state: Number(((each - once) / (count - 1)).toFixed(1)) }),
  );
} finally {
  await session.close();
  rmSync(folder, { recursive: true, force: true });
}

function optionsOf(firstStep: number, segmentSteps: number): TrainingOptions {
  return {
    steps: {
      firstStep,
      settings: trainingSettings(),
      losses: engineV1.Losses.fromPartial({ layerWeight: 0.9, klWeight: 0.1, lmWeight: 0, temperature: 2 / 3 }),
      trainMasks: true,
      returnState: true,
      loraLearningRate: Array<number>(segmentSteps).fill(1e-4),
      scheduledSparsity: Array<number>(segmentSteps).fill(0.3),
    },
    segmentSteps,
    segmentSeconds: undefined,
    maxSegments: 1,
    marks: kind === 'teachers' && segmentSteps === 1 ? [{ expectedSparsity: -1, teacher: undefined }] : [],
    teachers: [],
    stateFile: join(folder, 'state'),
  };
}
