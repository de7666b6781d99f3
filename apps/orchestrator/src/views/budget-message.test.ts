// Tests a budget beside the run's exports: only exports of the last state, in the form and type that the budget counts, are its measure.
import type { RecordedExport } from '../pruning-run/aggregate/pruning-run.state.js';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { stateAt } from '../pruning-run/testing.js';
import { budgetOfRun } from './budget-message.js';

const current = stateAt(10, 0.5);

function measured(settings: RequestedSettings, exports: [format: string, dtype: string, bytes: number][]): number | undefined {
  const setting = (settings.targetParams ?? 0) > 0 ? 'targetParams' : 'targetBytes';
  return budgetOfRun({
    budget: { setting, intact: 1000, least: 100, kvHeads: 2, cost: [1, 1, 1, 1, 0, 0, 0, 0] },
    settings: resolveSettings(settings),
    model: { weightBytes: 2000, parameterCount: 1000 } as never, // two bytes each
    current,
    exports: exports.map(
      ([format, dtype, bytes]): RecordedExport =>
        ({
          stateDigest: current.stateDigest,
          dtype,
          parameterCount: bytes,
          files: [{ name: format === 'gguf' ? 'model.gguf' : 'model.safetensors', bytes, digest: '' }],
          made: { format, layers: [] },
        }) as never,
    ),
  })!.measured;
}

test("bytes in the model's type are those of an export in that type, though a later one has another", () => {
  const exports: [string, string, number][] = [
    ['hf-remote', 'BF16', 500],
    ['hf-remote', 'F32', 1000],
    ['hf', 'BF16', 700],
    ['gguf', 'BF16', 600],
  ];
  expect(measured({ targetBytes: 500 }, exports)).toBe(500);
  expect(measured({ targetBytes: 500, budgetDtype: 'f32' }, exports)).toBe(1000);
  expect(measured({ targetBytes: 500, budgetDtype: 'f16' }, exports)).toBeUndefined();
  expect(measured({ targetBytes: 500, budgetDtype: 'q8_0', shapeTarget: 'gguf' }, exports)).toBeUndefined();
});

test('masks that were held to shapes are measured in the format of these shapes too', () => {
  expect(measured({ targetParams: 500, shapeTarget: 'uniform' }, [['hf', 'BF16', 500]])).toBe(500);
  expect(measured({ targetParams: 500, shapeTarget: 'vllm' }, [['vllm', 'F32', 500]])).toBe(500);
  expect(measured({ targetParams: 500 }, [['hf', 'BF16', 500]])).toBeUndefined();
});

test.each([
  [{ targetBytes: 500 }, 'targetBytes', { asked: 500, intact: 1000, least: 345, predicted: 333 }],
  [{ targetMacs: 0.4444 }, 'targetMacs', { asked: 444, intact: 1000, least: 345, predicted: 333 }],
  [{ targetSpeedup: 2 }, 'targetSpeedup', { asked: 500.1, intact: 1000.2, least: 344.20000000003, predicted: 333.4 }],
] as const)('amounts of %j are whole where they are counted, and the least one is enough', (settings, setting, told) => {
  const budget = { setting, intact: setting === 'targetSpeedup' ? 1000.2 : 1000, least: 344.20000000003, kvHeads: 2, cost: [] };
  const hardSparsity = 1 - 333.4 / budget.intact;
  const run = { budget, settings: resolveSettings(settings), model: {}, current: { ...current, hardSparsity }, exports: [] };
  const { asked, intact, least, predicted } = budgetOfRun(run as never)!;
  expect({ asked, intact, least, predicted: Number(predicted!.toFixed(6)) }).toEqual(told);
});
