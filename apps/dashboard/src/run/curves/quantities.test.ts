import { RecoverWeights } from '../../generated/espalier/v1/common_pb.js';
import { learnersOf } from './quantities.js';

test('a learning rate is that of what learns', () => {
  const { LORA, ALL, LAYERS } = RecoverWeights;
  expect(learnersOf({ totalSteps: 100, recoverSteps: 0, recoverWeights: ALL })).toBe('of LoRA'); // nothing recovers
  expect(learnersOf({ totalSteps: 100, recoverSteps: 50, recoverWeights: LORA })).toBe('of LoRA');
  expect(learnersOf({ totalSteps: 100, recoverSteps: 50, recoverWeights: ALL })).toBe('of LoRA, then of own weights');
  expect(learnersOf({ totalSteps: 0, recoverSteps: 50, recoverWeights: LAYERS })).toBe('of own weights');
});
