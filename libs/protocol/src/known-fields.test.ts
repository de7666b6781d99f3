// Tests the texts about engines that know less than this release, and about requests to them.
import { engineV1, v1 } from './index.js';
import { knownNumbers, UnknownNumbers } from './known-fields.js';

const TRAIN = 'espalier.engine.v1.TrainRequest';
const training = (settings: Partial<v1.RunSettings>) => ({ type: TRAIN, message: engineV1.TrainRequest.fromPartial({ settings }) });
const session = (settings: Partial<v1.RunSettings>) => ({
  type: 'espalier.engine.v1.OpenSessionRequest',
  message: engineV1.OpenSessionRequest.fromPartial({ options: { settings } }),
});

/** An engine of this release that lacks these numbers of one message or enum. */
function lacking(type: string, ...numbers: number[]): UnknownNumbers {
  const without = (all: readonly number[]): number[] => all.filter((one) => !numbers.includes(one));
  const known = knownNumbers().map((one) => (one.name === type ? { ...one, numbers: without(one.numbers) } : one));
  return UnknownNumbers.to(known)!;
}

test('an engine of this release, or of a later one, knows all that it can be asked', () => {
  expect(UnknownNumbers.to(knownNumbers())).toBeNull();
  expect(UnknownNumbers.to([...knownNumbers(), { name: 'espalier.engine.v1.LaterRequest', numbers: [1] }])).toBeNull();
});

test('an engine that tells nothing is of the last release whose engines told nothing, which had no noise of the masks', () => {
  const { names } = UnknownNumbers.to([])!;
  expect(names).toContain('mask_noise');
  for (const earlier of ['gradient_sum', 'TrainRequest.hold_in_parts_of', 'GRADIENT_SUM_TREE']) expect(names).not.toContain(earlier);
});

test('a setting that the engine lacks is named with what helps; at the value of the time before it the engine does what is asked', () => {
  const unknown = UnknownNumbers.to([])!;
  expect(unknown.problemWith(training({ maskNoise: 0.3 }))).toBe(
    'is older than the server and does not know the setting mask_noise: update the engine, or launch with --mask-noise 1',
  );
  expect(unknown.problemWith(training({ maskNoise: 1, maskLearningRate: 0.1 }), session({ batchSize: 4 }))).toBe('');
});

test('several settings are named once each, of whatever requests; a flag is left out, and a value of words is named by its enum', () => {
  const both = lacking('espalier.v1.RunSettings', 37, 56);
  expect(both.problemWith(session({ streamWeights: true }), training({ maskNoise: 0.5 }), training({ maskNoise: 0.5 }))).toBe(
    'is older than the server and does not know the settings stream_weights, mask_noise: update the engine, ' +
      'or launch without --stream-weights and with --mask-noise 1',
  );
  const tree = lacking('espalier.v1.GradientSum', v1.GradientSum.GRADIENT_SUM_TREE);
  expect(tree.problemWith(session({ gradientSum: v1.GradientSum.GRADIENT_SUM_TREE }))).toContain('or launch with --gradient-sum order');
  expect(tree.problemWith(session({ gradientSum: v1.GradientSum.GRADIENT_SUM_ORDER }))).toBe('');
});

test('parts that are not settings are found wherever they are, and only an update helps', () => {
  const evaluation = (more: Partial<engineV1.EvaluateRequest>) => ({
    type: 'espalier.engine.v1.EvaluateRequest',
    message: engineV1.EvaluateRequest.fromPartial({ tokens: Buffer.from('abcd'), ...more }),
  });
  const closings = lacking('espalier.engine.v1.EvaluateRequest', 8);
  expect(closings.names).toEqual(['EvaluateRequest.closings']);
  expect(closings.problemWith(evaluation({}))).toBe('');
  expect(closings.problemWith(evaluation({ closings: { layer: 1, heads: true, units: false, hidden: false } }))).toBe(
    'is older than the server and does not know EvaluateRequest.closings: update the engine',
  );
  const files = lacking('espalier.engine.v1.TokenShard', 3);
  const shard = { digest: 'd', tokenCount: 1n };
  const text = (file: string) => ({
    type: 'espalier.engine.v1.LoadTrainingTokensRequest',
    message: engineV1.LoadTrainingTokensRequest.fromPartial({ sources: [{ parts: 1, shards: [{ ...shard, file }] }] }),
  });
  expect(files.problemWith(text('/tokens'))).toContain('TokenShard.file');
  expect(files.problemWith(text(''))).toBe('');
});

test('a message that the engine lacks as a whole is named where a request has it', () => {
  const known = knownNumbers().filter(({ name }) => name !== 'espalier.engine.v1.OneShot');
  const message = engineV1.TrainRequest.fromPartial({ oneShot: { calibrationSequences: 3 } });
  expect(UnknownNumbers.to(known)!.problemWith({ type: TRAIN, message })).toContain('OneShot.calibration_sequences');
});
