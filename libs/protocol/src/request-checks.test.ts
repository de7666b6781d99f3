import { fileRegistry, v1, violationsOf } from './index.js';

const messageType = (name: string) => fileRegistry().getMessage(`espalier.v1.${name}`)!;
const codes = (name: string, message: object) => violationsOf(messageType(name), message).map(({ field, code }) => `${field} ${code}`);

describe('what holds for every request', () => {
  it('numbers are finite, wherever they stand', () => {
    const request = v1.ForkRunRequest.fromPartial({
      settings: { loraAlpha: -Infinity, temperature: Infinity },
    });
    expect(codes('ForkRunRequest', request)).toEqual(['settings.temperature FIELD_OUT_OF_RANGE', 'settings.lora_alpha FIELD_OUT_OF_RANGE']);
  });

  it('a budget of 0 is not a budget, so a run without one leaves it out', () => {
    const settings = { targetSparsity: 0, targetParams: 0, targetBytes: 0, targetMacs: 0, targetSpeedup: 0 };
    const refused = ['target_params', 'target_bytes', 'target_macs', 'target_speedup'];
    const request = v1.LaunchRunRequest.fromPartial({ modelPath: '/m', data: { trainPath: '/d' }, settings });
    expect(codes('LaunchRunRequest', request)).toEqual(refused.map((field) => `settings.${field} FIELD_OUT_OF_RANGE`));
    expect(violationsOf(messageType('RunSettings'), v1.RunSettings.fromPartial({ targetBytes: 0 }))).toEqual([
      expect.objectContaining({ field: 'target_bytes', description: 'must be above 0, is 0: a run without this budget leaves it out' }),
    ]);
    expect(codes('RunSettings', v1.RunSettings.fromPartial({ targetSparsity: 0, targetMacs: 0.5 }))).toEqual([]);
  });

  it('a budget of parameters or bytes is a whole number, and a share or a speedup need not be', () => {
    const settings = { targetParams: 250_000.5, targetBytes: 1e6 + 0.25, targetMacs: 0.5, targetSpeedup: 1.5 };
    const run = { variant: 'a', modelPath: '/m', data: { trainPath: '/d' }, settings };
    const request = v1.LaunchStudyRequest.fromPartial({ name: 's', runs: [run] });
    expect(violationsOf(messageType('LaunchStudyRequest'), request)).toEqual([
      {
        field: 'runs[0].settings.target_params',
        description: 'must be a whole number of parameters, is 250000.5',
        code: 'FIELD_OUT_OF_RANGE',
      },
      expect.objectContaining({ field: 'runs[0].settings.target_bytes', description: 'must be a whole number of bytes, is 1000000.25' }),
    ]);
    expect(codes('RunSettings', v1.RunSettings.fromPartial({ targetParams: 250_000 }))).toEqual([]);
  });

  it('enums are known, in lists too', () => {
    const request = v1.ListRunsRequest.fromPartial({ statuses: [1, -1, 77] });
    expect(codes('ListRunsRequest', request)).toEqual(['statuses[1] FIELD_UNKNOWN_VALUE', 'statuses[2] FIELD_UNKNOWN_VALUE']);
  });

  it('whole numbers are exact, but for a seed, which is only bits', () => {
    const { settings } = v1.LaunchRunRequest.fromPartial({ settings: { seed: 2n ** 64n - 1n } });
    expect(codes('RunSettings', settings!)).toEqual([]);
    expect(codes('QueryMetricsRequest', v1.QueryMetricsRequest.fromPartial({ fromStep: -(2n ** 63n), toStep: 2n ** 53n }))).toEqual([
      'from_step FIELD_OUT_OF_RANGE',
      'to_step FIELD_OUT_OF_RANGE',
    ]);
  });

  it('what is needed is there, in a message that is left out too', () => {
    expect(codes('LaunchRunRequest', v1.LaunchRunRequest.fromPartial({ name: 'n'.repeat(201) }))).toEqual([
      'name FIELD_OUT_OF_RANGE',
      'model_path FIELD_REQUIRED',
      'data.train_path FIELD_REQUIRED',
    ]);
    expect(codes('ForkRunRequest', v1.ForkRunRequest.fromPartial({}))).toEqual([]);
    expect(codes('ForkRunRequest', v1.ForkRunRequest.fromPartial({ data: {} }))).toEqual(['data.train_path FIELD_REQUIRED']);
  });

  it('no string or list is longer than its kind may be, and none holds a NUL', () => {
    const request = v1.LaunchRunRequest.fromPartial({
      requestId: 'r'.repeat(129),
      name: 'n'.repeat(200),
      modelPath: '/'.repeat(4097),
      data: { trainPath: 'a\0b' },
      settings: { loraTargets: new Array(65).fill('q_proj') as string[] },
    });
    expect(codes('LaunchRunRequest', request)).toEqual([
      'request_id FIELD_OUT_OF_RANGE',
      'model_path FIELD_OUT_OF_RANGE',
      'data.train_path FIELD_OUT_OF_RANGE',
      'settings.lora_targets FIELD_OUT_OF_RANGE',
    ]);
  });

  it('what people read holds no character that acts upon a terminal, or hides', () => {
    const request = v1.LaunchRunRequest.fromPartial({
      name: 'a\u001b[2J',
      requestId: 'b\u202e',
      modelPath: '/m\u001b',
      data: { trainPath: '/d' },
    });
    expect(violationsOf(messageType('LaunchRunRequest'), request)).toMatchObject([
      { field: 'request_id', code: 'FIELD_OUT_OF_RANGE' },
      { field: 'name', description: 'must not contain control, formatting or invisible characters, has \\u{1b}' },
    ]);
    expect(codes('CancelRunRequest', v1.CancelRunRequest.fromPartial({ runId: 'abcd', reason: 'wrong\ncorpus' }))).toEqual([
      'reason FIELD_OUT_OF_RANGE',
    ]);
  });

  it('a choice is checked where it was made', () => {
    const from = { $case: 'stateDigest', value: 'x'.repeat(65) } as const;
    expect(codes('ResumeRunRequest', v1.ResumeRunRequest.fromPartial({ from }))).toEqual(['state_digest FIELD_OUT_OF_RANGE']);
  });

  it('finds every field of every request under the name that the generated code has for it', () => {
    for (const service of ['RunService', 'HistoryService', 'ArtifactService'])
      for (const { input } of fileRegistry().getService(`espalier.v1.${service}`)!.methods) {
        const made = (v1 as unknown as Record<string, { fromPartial(partial: object): object }>)[input.name]!.fromPartial({});
        const expected = new Set(input.fields.map((field) => field.oneof?.localName ?? field.localName));
        expect([input.name, Object.keys(made).sort()]).toEqual([input.name, [...expected].sort()]);
      }
  });
});
