// Tests which tables of seconds by width are refused, and compares the cost that follows from one with sums made by hand.
import { budgetsOf, amountViolations, shareGoneAt, shareToGo } from '../pruning-run/method/budget.js';
import { costAt, costFrom, intactCost, numbersOf } from '../pruning-run/method/model-cost.js';
import { resolveSettings, settingsViolations } from '../pruning-run/method/run-settings.js';
import { secondsCost, type SpeedTable } from '../pruning-run/method/speed-table.js';
import { groupedShape as model } from '../pruning-run/testing.js';
import { requireTableOf, speedTableOf, speedTableText } from './speed-table-file.js';

/** A table with straight lines in all widths: each head takes 3 ms, each key/value head 2 ms, each unit 0.05 ms, and the rest 10 ms. */
const table = (change: (table: SpeedTable) => void = () => undefined): string => {
  const line = (full: number, each: number, parts = 4) =>
    Array.from({ length: parts }, (_, part) => ({
      width: (full / parts) * (part + 1),
      seconds: (each * full * (part + 1)) / parts,
      spread: 0.01,
    }));
  const whole = {
    schema: 'espalier-speed-table',
    version: 1,
    device: 'made by hand',
    instruction_set: '',
    threads: 0,
    dtype: 'bf16',
    batch: 1,
    context: 2048,
    phase: 'decode',
    rounds: 9,
    model: { layers: 3, heads: 8, kv_heads: 2, head_dim: 8, units: 160, hidden_size: 64, vocabulary_size: 2048 },
    by_heads: { q: line(8, 1e-3), attention: line(8, 1e-3), o: line(8, 1e-3) },
    by_kv_heads: { kv: line(2, 2e-3, 2) },
    by_units: { gate_up: line(160, 3e-5), down: line(160, 2e-5) },
    layer: { attention: [{ seconds: 0, spread: 0 }], mlp: [{ seconds: 0, spread: 0 }] },
    fixed: [{ seconds: 10e-3, spread: 0 }],
  };
  change(whole as SpeedTable);
  return JSON.stringify(whole);
};
const INTACT = 3 * (8 * 3e-3 + 2 * 2e-3 + 160 * 5e-5) + 10e-3;
const gates = { layers: 3, heads: 8, kvHeads: 2, units: 160 };

describe('the cost by a table of seconds', () => {
  it('is the time of the intact model, and that of its parts', () => {
    const cost = secondsCost(speedTableOf(table()));
    expect(intactCost(cost, gates)).toBeCloseTo(INTACT, 6);
    const open = { layers: 3, heads: 3 * 5, kv: 3 * 1.5, units: 3 * 70, hiddenShare: 1 };
    expect(costAt(cost, open)).toBeCloseTo(3 * (5 * 3e-3 + 1.5 * 2e-3 + 70 * 5e-5) + 10e-3, 6);
    // Products shrink with the hidden units, and attention over the context does not.
    const half = costAt(cost, { ...open, hiddenShare: 0.5 });
    expect(half).toBeCloseTo(3 * (5 * 1e-3 + (5 * 2e-3 + 1.5 * 2e-3 + 70 * 5e-5) / 2) + 5e-3, 6);
    expect(costFrom(numbersOf(cost))).toEqual(cost);
  });

  it('follows the curve of a kind, and ends a layer that has nothing left', () => {
    const steps = speedTableOf(
      table(({ by_units: byUnits, layer }) => {
        byUnits.gate_up = [40, 80, 120, 160].map((width) => ({ width, seconds: 4e-3 + width * 1e-5, spread: 0 }));
        byUnits.down = [{ width: 160, seconds: 0, spread: 0 }];
        layer.mlp = [{ seconds: 1e-3, spread: 0 }];
      }),
    );
    const cost = secondsCost(steps);
    const at = (units: number) => costAt(cost, { layers: 3, heads: 0, kv: 0, units: 3 * units, hiddenShare: 1 }) - 10e-3;
    expect(at(0)).toBeCloseTo(0, 6);
    for (const units of [40, 60, 100, 160]) expect(at(units)).toBeCloseTo(3 * (5e-3 + units * 1e-5), 6);
    expect(at(20)).toBeCloseTo(at(40) / 2, 6);
  });

  it('takes the share that follows the hidden units from times with fewer of them', () => {
    const cost = secondsCost(
      speedTableOf(
        table(({ fixed, by_units: byUnits }) => {
          fixed.push({ hidden: 32, seconds: 8e-3, spread: 0 }); // 40% of the time follows the hidden units
          byUnits.down.push({ width: 160, hidden: 32, seconds: 160 * 2e-5, spread: 0 }); // none of this time does
        }),
      ),
    );
    expect(cost.wide.rest).toBeCloseTo(4e-3, 9);
    expect(cost.wide.unit + cost.alone.unit).toBeCloseTo(5e-5, 8);
    expect(cost.alone.unit).toBeCloseTo(2e-5, 8);
  });

  it('never falls and never stands still, whatever the noise', () => {
    const noisy = secondsCost(
      speedTableOf(
        table(
          ({ by_heads: byHeads }) =>
            (byHeads.q = [1, 1.02, 1, 1.01, 0.99, 2, 2, 2].map((ms, at) => ({ width: at + 1, seconds: ms * 1e-3, spread: 0.02 }))),
        ),
      ),
    );
    const { head } = noisy.curves!;
    expect(head.at(-1)).toEqual({ width: 8, parts: 8 });
    for (const [index, point] of head.entries()) {
      expect(point.parts).toBeGreaterThan(head[index - 1]?.parts ?? 0);
      expect(point.width).toBeGreaterThan(head[index - 1]?.width ?? 0);
    }
  });
});

describe('a speed table', () => {
  const refusal = (text: string) => {
    try {
      requireTableOf(speedTableOf(text), model);
    } catch (error) {
      return error as { code: string; message: string; violations: { field: string }[] };
    }
    return undefined;
  };

  it('is taken as it is measured', () => {
    expect(refusal(table())).toBeUndefined();
    const of = (part: string, widths: number[]) =>
      widths.map((width) => ({ part, width: BigInt(width), hidden: 64n, seconds: 1e-3 * (width + 1), spread: 0.1 }));
    const times = [
      ...['q', 'attention', 'o'].flatMap((part) => of(part, [8, 4])),
      ...of('kv', [2, 1]),
      ...['gate_up', 'down'].flatMap((part) => of(part, [160, 80])),
      ...['attention_rest', 'mlp_rest', 'fixed'].flatMap((part) => of(part, [0])),
    ];
    const measured = {
      device: 'cpu',
      instructionSet: 'avx2',
      threads: 2,
      dtype: 'f32',
      rounds: 9,
      passSeconds: 1,
      passSpread: 0.01,
      times,
    };
    expect(refusal(speedTableText(measured, model, { phase: 'prefill', context: 64, batch: 1 }))).toBeUndefined();
  });

  it.each([
    [0.8, undefined],
    [0.6, 'SPEED_TABLE_INVALID'],
  ])('whose wider part takes %d of the time of a narrower one: %s', (share, code) => {
    const falls = table((one) => (one.by_units.gate_up[1]!.seconds = one.by_units.gate_up[0]!.seconds * share));
    expect(refusal(falls)?.code).toBe(code);
  });

  it('of a toy is no more uneven than the starts of its ops', () => {
    const microseconds = (widths: [number, number][]) => widths.map(([width, us]) => ({ width, seconds: us * 1e-6, spread: 0.02 }));
    const toy = (last: number) =>
      table((one) => {
        one.pass = { seconds: 280e-6, spread: 0.02 };
        one.by_units.down = microseconds([
          [40, 24],
          [80, 9],
          [160, last],
        ]);
      });
    expect(refusal(toy(8))).toBeUndefined();
    expect(refusal(toy(2))?.code).toBe('SPEED_TABLE_INVALID');
  });

  it.each<[string, string, string | ((table: SpeedTable) => void)]>([
    ['that is not JSON', 'the file', 'seconds: 3'],
    ['of another kind', 'schema', '{"schema": "something"}'],
    ['with negative times', 'fixed.0.seconds', (one) => (one.fixed[0]!.seconds = -1)],
    ['that lacks a kind', 'by_units.down', (one) => delete (one.by_units as { down?: unknown }).down],
    ['that knows no phase', 'phase', (one) => (one.phase = 'both' as 'decode')],
    ['without the intact width', 'by_units.down', (one) => one.by_units.down.pop()],
    ['with a width beyond it', 'by_heads.q', (one) => (one.by_heads.q[3]!.width = 9)],
    ['with a width twice', 'by_heads.o', (one) => (one.by_heads.o[0]!.width = 4)],
    ['that falls to almost nothing', 'by_units.gate_up', (one) => (one.by_units.gate_up[1]!.seconds = 1e-5)],
    ['measured beside other work', 'pass.spread', (one) => (one.pass = { seconds: 1, spread: 0.657 })],
    ['of another model', 'model.hidden_size', (one) => (one.model.hidden_size = 128)],
    ['with no time for all hidden units', 'layer.mlp', (one) => (one.layer.mlp = [{ hidden: 32, seconds: 1, spread: 0 }])],
  ])('%s is refused at its place', (_, place, wrong) => {
    const found = refusal(typeof wrong === 'string' ? wrong : table(wrong));
    expect(found).toMatchObject({ code: 'SPEED_TABLE_INVALID', violations: [{ field: 'settings.speed_table' }] });
    expect(found!.message).toContain(`${place}: `);
  });
});

describe('a target in seconds', () => {
  const settings = resolveSettings({ targetSpeedup: 1.6, speedTable: '/tables/cpu.json' });
  const budget = budgetsOf(settings, model, { digest: 'd1', table: speedTableOf(table()) })[0]!;

  it('is the share of the time that has to go', () => {
    expect(budget).toMatchObject({ setting: 'targetSpeedup', speed: { tableDigest: 'd1', phase: 'decode', batch: 1, context: 2048 } });
    expect(budget.intact).toBeCloseTo(INTACT, 6);
    expect(shareToGo(budget, settings)).toBeCloseTo(1 - 1 / 1.6, 12);
    const gone = shareGoneAt(budget, { layers: Array.from({ length: 3 }, () => ({ heads: 8, units: 160 })) }, settings);
    expect(gone(1)).toBeCloseTo(0, 12);
    expect(gone(0.5)).toBeGreaterThan(gone(0.7));
  });

  it('is refused out of reach, with what is fixed and the most that is possible', () => {
    const alone = speedTableOf(table(({ fixed }) => void fixed.push({ hidden: 32, seconds: 10e-3, spread: 0 })));
    const [violation] = amountViolations(budgetsOf(settings, model, { digest: 'd1', table: alone })[0]!, { targetSpeedup: 19.9 });
    expect(violation).toMatchObject({ field: 'settings.target_speedup', code: 'BUDGET_OUT_OF_REACH' });
    expect(violation!.description).toMatch(
      /what is fixed .* takes 8\.\d% of the intact model's time: must be in \[1, \d+(\.\d+)?\], is 19\.9/,
    );
    expect(amountViolations(budget, { targetSpeedup: 0.9 })[0]!.description).toContain('is slower than the intact model');
    expect(amountViolations(budget, { targetSpeedup: 1.6 })).toEqual([]);
  });

  it('needs a table, one target, and masks that learn', () => {
    const codes = (asked: Parameters<typeof resolveSettings>[0]) =>
      settingsViolations(resolveSettings(asked)).map(({ field, code }) => `${field} ${code}`);
    expect(codes({ targetSpeedup: 1.6 })).toEqual(['settings.speed_table FIELD_REQUIRED']);
    expect(codes({ targetSpeedup: 0.9 })).toEqual(['settings.target_speedup BUDGET_OUT_OF_REACH']); // before a table is measured
    expect(codes({ speedTable: '/a.json' })).toEqual(['settings.speed_table BUDGETS_CONFLICT']);
    expect(codes({ targetSpeedup: 1.6, targetMacs: 0.5, speedTable: '/a.json' })).toEqual(['settings.target_speedup BUDGETS_CONFLICT']);
    expect(codes({ targetSpeedup: 1.6, speedTable: '/a.json', recipe: 'wanda' })).toEqual(['settings.target_speedup FIELD_UNKNOWN_VALUE']);
  });
});
