// Tests a budget beside the run's exports: only exports of the last state, in the form and type that the budget counts, are its measure.
import type { RecordedExport } from '../pruning-run/aggregate/pruning-run.state.js';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { stateAt } from '../pruning-run/testing.js';
import { budgetOfRun } from './budget-message.js';

const PARAMETERS = 250;
const current = { ...stateAt(10, 0.5), size: { parameterCount: PARAMETERS, multiplications: 0, bytes: 500 } };
const HEADER = 96;

function shown(
  settings: RequestedSettings,
  exports: [format: string, dtype: string, bytes: number, parameters?: number][],
  cacheBytes = 0,
) {
  const setting = (settings.targetParams ?? 0) > 0 ? 'targetParams' : 'targetBytes';
  return budgetOfRun({
    budget: { setting, intact: 2050, least: 100, kvHeads: 2, cacheBytes, cost: [1, 1, 1, 1, 0, 0, 0, 0] },
    settings: resolveSettings(settings),
    model: { weightBytes: 2000, parameterCount: 1000, layers: [{}, {}] } as never, // two bytes each
    current,
    speeds: [],
    exports: exports.map(
      ([format, dtype, tensorBytes, parameterCount = PARAMETERS]): RecordedExport =>
        ({
          stateDigest: current.stateDigest,
          dtype,
          parameterCount,
          files: [{ name: format === 'gguf' ? 'model.gguf' : 'model.safetensors', bytes: tensorBytes + HEADER, digest: '' }],
          made: { format, multipleOf: parameterCount === PARAMETERS ? 1 : 64, tensorBytes, layers: [{ kvHeads: 1 }] },
        }) as never,
    ),
  })!;
}
const measured = (...about: Parameters<typeof shown>): number | undefined => shown(...about).measured;

test("bytes in the model's type are those of an export in that type, though a later one has another", () => {
  const exports: [string, string, number, number?][] = [
    ['hf-remote', 'BF16', 500],
    ['hf-remote', 'F32', 1000],
    ['hf', 'BF16', 700, 350],
    ['gguf', 'BF16', 600],
  ];
  expect(measured({ targetBytes: 500 }, exports)).toBe(500);
  expect(measured({ targetBytes: 500, budgetDtype: 'f32' }, exports)).toBe(1000);
  expect(measured({ targetBytes: 500, budgetDtype: 'f16' }, exports)).toBeUndefined();
  expect(measured({ targetBytes: 500, budgetDtype: 'q8_0', shapeTarget: 'gguf' }, exports)).toBeUndefined();
});

test('are those of the tensors, without zeros and headers; a type of GGUF is counted with its header', () => {
  const exports: [string, string, number, number?][] = [
    ['hf-remote', 'BF16', 500],
    ['hf-remote', 'BF16', 900, 450], // with --multiple-of
  ];
  expect(measured({ targetBytes: 500 }, exports)).toBe(500);
  expect(measured({ targetBytes: 500, budgetContext: 10 }, exports, 70)).toBe(500 + 70);
  expect(measured({ targetParams: 500 }, exports)).toBe(PARAMETERS);
  expect(measured({ targetBytes: 500, budgetDtype: 'q8_0', shapeTarget: 'gguf' }, [['gguf', 'q8_0', 300]])).toBe(300 + HEADER);
});

test('stand beside what the intact model has: its file and its cache', () => {
  expect(shown({ targetBytes: 500 }, []).intactSize).toBe(2000);
  expect(shown({ targetBytes: 500, budgetDtype: 'f32', budgetContext: 10 }, [], 70).intactSize).toBe(4000 + 2 * 2 * 70);
});

test('any format measures masks whose shapes it takes without zeros', () => {
  expect(measured({ targetParams: 500, shapeTarget: 'uniform' }, [['hf', 'BF16', 500]])).toBe(PARAMETERS);
  expect(measured({ targetParams: 500, shapeTarget: 'vllm' }, [['vllm', 'F32', 500]])).toBe(PARAMETERS);
  expect(measured({ targetParams: 500, shapeTarget: 'uniform' }, [['hf', 'BF16', 600, 300]])).toBeUndefined();
});

test.each([
  [{ targetBytes: 500 }, 'targetBytes', { asked: 500, intact: 1000, least: 345, predicted: 333 }],
  [{ targetMacs: 0.4444 }, 'targetMacs', { asked: 444, intact: 1000, least: 345, predicted: 333 }],
  [{ targetSpeedup: 2 }, 'targetSpeedup', { asked: 500.1, intact: 1000.2, least: 344.20000000003, predicted: 333.4 }],
] as const)('amounts of %j are whole where they are counted, and the least one is enough', (settings, setting, told) => {
  const budget = {
    setting,
    intact: setting === 'targetSpeedup' ? 1000.2 : 1000,
    least: 344.20000000003,
    kvHeads: 2,
    cacheBytes: 0,
    cost: [],
  };
  const hardSparsity = 1 - 333.4 / budget.intact;
  const run = {
    budget,
    settings: resolveSettings(settings),
    model: { layers: [] },
    current: { ...current, hardSparsity },
    exports: [],
    speeds: [],
  };
  const { asked, intact, least, predicted } = budgetOfRun(run as never)!;
  expect({ asked, intact, least, predicted: Number(predicted!.toFixed(6)) }).toEqual(told);
});

test('seconds are those of the last measurement of the last state under the conditions of the table', () => {
  const speed = { tableDigest: '', device: 'a processor', dtype: 'bf16', phase: 'decode', batch: 1, context: 64 } as const;
  const budget = { setting: 'targetSpeedup', intact: 0.3, least: 0.1, kvHeads: 2, cacheBytes: 0, cost: [], speed } as const;
  const as = (times: number) => ({ times, low: times - 0.1, high: times + 0.1 });
  const conditions = { subject: 'masked', stateDigest: current.stateDigest, device: 'a processor', computeDtype: 'bf16', batch: 1 };
  const one = { ...conditions, promptTokens: 64, prefill: as(9), decode: as(1.5) };
  const settings = resolveSettings({ targetSpeedup: 1.5 });
  const seconds = (...speeds: object[]): number | undefined =>
    budgetOfRun({ budget, settings, model: { layers: [] }, current, exports: [], speeds } as never)!.measured;
  expect(seconds(one, { ...one, decode: as(1.2) })).toBeCloseTo(0.25, 12);
  const others = [{ batch: 2 }, { promptTokens: 65 }, { computeDtype: 'f32' }, { device: 'a card' }, { stateDigest: 'earlier' }];
  for (const other of [...others, { subject: 'export:aa' }]) expect(seconds({ ...one, ...other })).toBeUndefined();
});
