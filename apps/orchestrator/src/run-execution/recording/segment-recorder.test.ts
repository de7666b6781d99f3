import { ArtifactStoreError } from '#artifact-store';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import { World } from '../testing.js';
import type { TrainedSegment } from './segment-recorder.js';

const announced = 'a'.repeat(64);

/** Records a segment whose state the store refuses with `refusal`. */
async function recordRefused(refusal: ArtifactStoreError, state: TrainedSegment['state']): Promise<unknown> {
  const world = new World();
  world.artifacts.put = () => Promise.reject(refusal);
  world.artifacts.adopt = () => Promise.reject(refusal);
  const { recorder } = world.parts(world.slot('engine').slot);
  const segment = { report: { state: { stateDigest: announced } }, state } as unknown as TrainedSegment;
  const run = { runId: 'aaaabbbbcccc' } as PruningRunState;
  return recorder.record(run, [segment], new AbortController().signal).catch((error: unknown) => error);
}

test('a state with other bytes than its engine announced is the fault of the engine, and a fault of the disk is not', async () => {
  const otherBytes = new ArtifactStoreError('ARTIFACT_CORRUPT', 'the bytes have another digest', announced);
  const diskFault = new ArtifactStoreError('ARTIFACT_CORRUPT', "the disk can't write", announced, new Error('EIO'));
  expect(await recordRefused(otherBytes, Uint8Array.of(1))).toMatchObject({ code: 'RESULT_CONTRADICTS_STATE', cause: otherBytes });
  expect(await recordRefused(diskFault, Uint8Array.of(1))).toBe(diskFault);
  expect(await recordRefused(otherBytes, { file: '/incoming/state' })).toBe(otherBytes);
});
