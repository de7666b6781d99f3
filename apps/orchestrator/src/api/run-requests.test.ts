import { v1 } from '#protocol';
import { forkRequest } from './run-requests.js';

const fork = (part: Partial<v1.ForkRunRequest>): ReturnType<typeof forkRequest> =>
  forkRequest(v1.ForkRunRequest.fromPartial({ requestId: 'r', parentRunId: 'p', from: { $case: 'lastState', value: true }, ...part }));

describe('a fork', () => {
  it('changes the settings that it names', () => {
    const settings = v1.RunSettings.fromPartial({ totalSteps: 140, seed: 9n });
    expect(fork({ settings }).overrides).toEqual({ totalSteps: 140, seed: '9' });
    expect(fork({}).overrides).toEqual({});
  });
  it('is refused what would give its state another meaning, field by field', () => {
    const settings = v1.RunSettings.fromPartial({ loraRank: 4, batchSize: 16, totalSteps: 9, preset: 'paper' });
    expect(() => fork({ settings })).toThrow(
      expect.objectContaining({
        violations: ['preset', 'batch_size', 'lora_rank'].map((field) =>
          expect.objectContaining({ field: `settings.${field}`, code: 'FORK_FIELD_FIXED' }),
        ) as unknown[],
      }),
    );
  });
});
