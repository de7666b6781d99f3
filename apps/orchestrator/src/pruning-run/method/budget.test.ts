// Compares budgets with counts made by hand, and tests which budgets are refused.
import { settingsOfFork } from '../aggregate/starting-points.js';
import { groupedShape as grouped, launched, llamaShape, model as identity, stateAt, Story } from '../testing.js';
import type { RunSettings } from '../record/pruning-run.events.js';
import { amountViolations, budgetsOf, budgetOfForkViolations, prunableShareToGo, shareGoneAt, shareToGo, sizesAt } from './budget.js';
import { costAt, costFrom, gatesAt, type ModelShape, type TensorCount } from './model-cost.js';
import { resolveSettings, settingsViolations, shareOfDefaults, type RequestedSettings } from './run-settings.js';

/** The bundled model, in which each head has its own keys and values. */
const factbook = llamaShape({ layers: 6, heads: 6, kvHeads: 6, units: 512, hiddenSize: 192, headDim: 32, vocabularySize: 2048 }, false);
const budget = (settings: RequestedSettings, model = factbook) => budgetsOf(resolveSettings(settings), model)[0]!;

/** The parameters of a compacted export, counted tensor by tensor. */
function exported(model: ModelShape, left: { heads: number; kv: number; units: number; hidden: number }): number {
  const { layers, headDim, vocabularySize } = model;
  const { heads, kv, units, hidden } = left;
  const embeddings = vocabularySize * hidden * (model === grouped ? 1 : 2);
  const projections = 2 * heads * headDim * hidden + 2 * kv * headDim * hidden + 3 * units * hidden;
  return embeddings + layers * (projections + 2 * hidden) + hidden;
}

describe('the cost of a model', () => {
  it('adds up to the parameters that it has', () => {
    expect(budget({ targetParams: 1 }).intact).toBe(3_443_136);
    expect(budget({ targetParams: 1 }, grouped).intact).toBe(254_400);
  });

  it('has every tensor of the model, with the gates with which it shrinks', () => {
    const { layers, heads, kvHeads, headDim, hiddenSize } = grouped;
    const [ofHeads, ofKeys, ofNorms] = [layers * heads * headDim, layers * kvHeads * headDim, 2 * layers * hiddenSize];
    const vector = (part: TensorCount['part'], parameters: number): TensorCount => ({
      kind: 'vector',
      part,
      parameters,
      bytes: 4 * parameters,
    });
    // Norms of heads that are as large as the biases of keys: their size says nothing about their kind.
    const more: TensorCount[] = [
      vector('head', ofHeads),
      vector('kv', ofKeys),
      vector('rest', ofKeys),
      { kind: 'norm', part: 'rest', parameters: ofNorms, bytes: 2 * ofNorms },
    ];
    const unusual = llamaShape(grouped, true, more);
    const open = { layers: 3, heads: 9, kv: 3, units: 231, hiddenShare: 50 / 64 };
    const left = exported(grouped, { heads: 3, kv: 1, units: 77, hidden: 50 });
    const vectors = ofHeads * (3 / 8) + ofKeys / 2 + ofKeys;
    const [norms, moreNorms] = [(2 * 3 + 1) * 50, (ofNorms * 50) / 64];
    const costIn = (settings: RequestedSettings) => costAt(costFrom(budget(settings, unusual).cost), open);
    expect(costIn({ targetParams: 1 })).toBeCloseTo(left + vectors + moreNorms, 6);
    expect(costIn({ targetBytes: 1 })).toBeCloseTo(left * 2 + norms * 2 + vectors * 4 + moreNorms * 4, 6);
    expect(costIn({ targetBytes: 1, budgetDtype: 'bf16' })).toBeCloseTo(left * 2 + norms * 2 + vectors * 2 + moreNorms * 4, 6);
    expect(costIn({ targetMacs: 1 })).toBeCloseTo(left - norms, 6);
  });

  it.each([
    ['heads of their own', factbook, { heads: 4, kv: 4, units: 300, hidden: 130 }],
    ['grouped queries and tied embeddings', grouped, { heads: 3, kv: 1, units: 77, hidden: 50 }],
  ])('with %s is what a compacted export holds', (_, model, left) => {
    const cost = costFrom(budget({ targetParams: 1 }, model).cost);
    const { layers, hiddenSize } = model;
    const open = {
      layers,
      heads: layers * left.heads,
      kv: layers * left.kv,
      units: layers * left.units,
      hiddenShare: left.hidden / hiddenSize,
    };
    expect(costAt(cost, open)).toBeCloseTo(exported(model, left), 6);
  });

  it('in bytes has norms in f32 and the cache of the heads that are read, in multiply-adds attention and no embedding', () => {
    const open = { layers: 3, heads: 9, kv: 3, units: 231, hiddenShare: 50 / 64 };
    const left = exported(grouped, { heads: 3, kv: 1, units: 77, hidden: 50 });
    const norms = (2 * 3 + 1) * 50;
    const bytes = budget({ targetBytes: 1, budgetContext: 100, budgetBatch: 4 }, grouped);
    expect(costAt(costFrom(bytes.cost), open)).toBeCloseTo(left * 2 + norms * 2 + 3 * 2 * 8 * 100 * 4 * 2, 6);
    const wide = budget({ targetBytes: 1, budgetDtype: 'f32' }, grouped);
    expect(costAt(costFrom(wide.cost), open)).toBeCloseTo(left * 4, 6);
    const macs = budget({ targetMacs: 1, budgetContext: 100 }, grouped);
    expect(costAt(costFrom(macs.cost), open)).toBeCloseTo(left - norms + 9 * 2 * 8 * 100, 6);
  });
});

describe('a budget', () => {
  it('is the share of its cost that has to go', () => {
    expect(shareToGo(budget({ targetParams: 1_500_000 }), { targetParams: 1_500_000 })).toBe(1 - 1_500_000 / 3_443_136);
    expect(shareToGo(budget({ targetMacs: 0.6 }), { targetMacs: 0.6 })).toBeCloseTo(0.4, 12);
    expect(shareToGo(budget({ targetParams: 3_443_136 }), { targetParams: 3_443_136 })).toBe(0);
  });

  it('that no mask can keep is refused with what is possible', () => {
    const refused = (settings: RequestedSettings, model = factbook, targetSparsity?: number) =>
      amountViolations(budget(settings, model), settings, targetSparsity).map(({ field, code, description }) => [field, code, description]);
    expect(refused({ targetParams: 4e6 })).toEqual([
      [
        'settings.target_params',
        'BUDGET_OUT_OF_REACH',
        expect.stringMatching(/intact model has: must be in \[172157, 3443136\] \(172.2k to 3.443M\), is 4000000 \(4M\)$/),
      ],
    ]);
    expect(refused({ targetParams: 100 })).toEqual([
      ['settings.target_params', 'BUDGET_OUT_OF_REACH', expect.stringContaining('[172157, ')],
    ]);
    expect(refused({ targetMacs: 0.001 })).toEqual([
      [
        'settings.target_macs',
        'BUDGET_OUT_OF_REACH',
        expect.stringMatching(/must be in \[0\.05, 1\] \(5% to 100%\), is 0\.001 \(0\.1%\)$/),
      ],
    ]);
    expect(refused({ targetMacs: 0.05 })).toEqual([]);
    expect(refused({ targetBytes: 1024 ** 3 })).toEqual([
      ['settings.target_bytes', 'BUDGET_OUT_OF_REACH', expect.stringMatching(/ in \[\d+, \d+\] \(.*iB to .*iB\), is 1073741824 \(1GiB\)$/)],
    ]);
    // Where masks close at once, all hidden units stay, so embeddings and norms are left.
    const fixed = 2048 * 64 + 7 * 64;
    expect(budget({ recipe: 'wanda', targetParams: 1 }, grouped).least).toBe(fixed);
    expect(refused({ recipe: 'wanda', targetParams: fixed - 1 }, grouped)).toHaveLength(1);
    expect(refused({ targetParams: 1_500_000 })).toEqual([]);
    expect(refused({ targetParams: 1_500_000 }, factbook, 1 - 1_500_000 / 3_443_136)).toEqual([]);
    expect(refused({ targetParams: 1_500_000 }, factbook, 0.5)).toEqual([
      ['settings.target_sparsity', 'BUDGETS_CONFLICT', 'is given beside target_params: a run has one target'],
    ]);
  });

  it('is refused beside another one, and out of its range', () => {
    const codes = (settings: RequestedSettings) =>
      settingsViolations(resolveSettings(settings)).map(({ field, code }) => `${field} ${code}`);
    expect(codes({ targetParams: 1e6, targetBytes: 1e6 })).toEqual(['settings.target_bytes BUDGETS_CONFLICT']);
    expect(codes({ targetParams: -1 })).toEqual(['settings.target_params FIELD_OUT_OF_RANGE']);
    expect(codes({ targetMacs: 1.5 })).toEqual(['settings.target_macs FIELD_OUT_OF_RANGE']);
    expect(codes({ budgetDtype: 'f16', budgetBatch: 2, targetMacs: 0.5, budgetContext: 64 })).toEqual([
      'settings.budget_batch BUDGETS_CONFLICT',
      'settings.budget_dtype BUDGETS_CONFLICT',
    ]);
    expect(codes({ budgetContext: 64, targetParams: 1e6 })).toEqual(['settings.budget_context BUDGETS_CONFLICT']);
    expect(codes({ targetBytes: 1e6, budgetContext: 64, budgetBatch: 2, budgetDtype: 'f16' })).toEqual([]);
    expect(codes({ targetBytes: Number.NaN })).toContain('settings.target_bytes FIELD_OUT_OF_RANGE');
  });

  it('is compared with a sparsity by the share that has to go of what heads and units cost', () => {
    const shareOf = (settings: RequestedSettings, model = factbook) => prunableShareToGo(budget(settings, model), settings);
    // The embedding and lm_head have 2,048 rows each; six layers and the end have 13 norms.
    const fixed = (2 * 2048 + 13) * 192;
    const prunable = 3_443_136 - fixed;
    expect(shareOf({ targetParams: fixed + prunable / 2 })).toBeCloseTo(0.5, 12);
    expect(shareOf({ targetBytes: 2 * (fixed + 13 * 192) + prunable * 1.5 })).toBeCloseTo(0.25, 12); // norms have four bytes
    expect(shareOf({ targetMacs: (2048 * 192 + prunable * 0.7) / (2048 * 192 + prunable) })).toBeCloseTo(0.3, 12);
    expect(shareOf({ targetParams: 3_443_136 })).toBe(0);
    expect(shareOf({ targetParams: fixed / 2 })).toBeGreaterThan(1); // half of the hidden units, too
    // Shared keys and values count as prunable, as they do by a target sparsity.
    expect(shareOf({ targetParams: 254_400 - 122_880 / 2 }, grouped)).toBeCloseTo(0.5, 12);
  });

  it('recovers at the rate of the sparsity that it compares with', () => {
    const rateOf = (settings: RequestedSettings) => resolveSettings(settings, undefined, budget(settings)).recoverLearningRate;
    const ofSparsity = (targetSparsity: number) => resolveSettings({ targetSparsity }).recoverLearningRate;
    for (const share of [0.1, 0.3, 0.4, 0.5, 0.72])
      expect(rateOf({ targetParams: Math.round(3_443_136 - share * 2_654_208) })).toBe(ofSparsity(share));
    expect([2_112_078, 1_531_703].map((targetParams) => rateOf({ targetParams }))).toEqual([0.001, 0.001]); // sizes of 50% and 70%
    expect(rateOf({ targetParams: 2_112_078, recoverLearningRate: 0.0003 })).toBe(0.0003);
    expect(resolveSettings({ targetParams: 2_112_078 }, undefined, budget({ targetParams: 2_112_078 })).targetSparsity).toBeCloseTo(
      0.387,
      3,
    );
  });

  it('in seconds recovers as if half of the parameters went, since seconds do not tell how many do', () => {
    const inSeconds = { ...budget({ targetParams: 1 }), setting: 'targetSpeedup' } as const;
    const rateOf = (targetSpeedup: number) => resolveSettings({ targetSpeedup }, undefined, inSeconds).recoverLearningRate;
    expect([1.1, 1.5, 3].map(rateOf)).toEqual([0.001, 0.001, 0.001]);
  });

  it('has a share in a plan where a default follows from it, with the settings that have such a default', () => {
    const shareIn = (settings: RequestedSettings) => {
      const own = budget(settings);
      return shareOfDefaults(resolveSettings(settings, undefined, own), own, settings);
    };
    expect(shareIn({ targetParams: 2_112_078 })!.share).toBeCloseTo(0.5015, 4);
    const decidedBy = (settings: RequestedSettings) => shareIn({ targetParams: 2_112_078, ...settings })?.settings ?? [];
    expect(decidedBy({})).toEqual(['maskNoise', 'recoverLearningRate']);
    expect(decidedBy({ preset: 'paper' })).toEqual(['warmupSteps']);
    expect(decidedBy({ maskNoise: 0.3, recoverLearningRate: 0.001 })).toEqual([]);
    expect(decidedBy({ preset: 'paper', warmupSteps: 10 })).toEqual([]);
    for (const other of [{ recipe: 'wanda' }, { recoverLoraRank: 8 }, { recoverSteps: 0 }] as const)
      expect(decidedBy(other)).toEqual(['maskNoise']);
    expect(shareIn({ targetParams: 2_112_078, preset: 'short' })).toBeNull();
    const inSeconds = { ...budget({ targetParams: 1 }), setting: 'targetSpeedup' } as const;
    expect(shareOfDefaults(resolveSettings({ targetSpeedup: 1.5 }, undefined, inSeconds), inSeconds, {})).toBeNull();
  });

  it('has the warm-up that the preset paper gives the sparsity that it compares with', () => {
    const warmupOf = (settings: RequestedSettings, own = budget(settings)) =>
      resolveSettings({ preset: 'paper', totalSteps: 700, ...settings }, undefined, own).warmupSteps;
    const withShare = (share: number) => warmupOf({ targetParams: Math.round(3_443_136 - share * 2_654_208) });
    expect([0.34, 0.36].map(withShare)).toEqual([400, 100]); // 26% and 28% of all parameters
    expect(warmupOf({ targetSpeedup: 1.1 }, { ...budget({ targetParams: 1 }), setting: 'targetSpeedup' })).toBe(100);
  });

  it('means a sparsity if all gates close alike', () => {
    const settings = { targetParams: 100_000 };
    const gone = shareGoneAt(budget(settings, grouped), identity, resolveSettings(settings));
    expect(gone(1)).toBe(0);
    expect(gone(0.5)).toBeCloseTo(1 - costAt(costFrom(budget(settings, grouped).cost), gatesAt(grouped, 0.5)) / 254_400, 12);
    const half = sizesAt(grouped, 0.5, resolveSettings(settings));
    expect(half.parameters).toBeCloseTo(254_400 * (1 - gone(0.5)), 6);
    // A quarter of the heads and units stays, with their hidden units. Keys and values are shared, so they do not count as prunable.
    const [prunable, shared] = [3 * (8 * 2 * 8 * 64 + 160 * 3 * 64), 3 * 2 * 2 * 8 * 64];
    expect(half.prunableSparsity).toBeCloseTo((0.75 * prunable) / (prunable + shared), 12);
  });

  it('counts heads, units and keys under the gates of their blocks', () => {
    const settings = resolveSettings({ targetParams: 100_000, gates: ['head', 'unit', 'hidden', 'kv-group', 'attention', 'mlp'] });
    const blocks = { kvGroup: true, attention: true, mlp: true };
    // The model has three layers of 8 heads, 2 key/value heads and 160 units, so 4 heads read a key.
    expect(gatesAt(grouped, 0.5, blocks)).toEqual({ layers: 3, heads: 3, units: 120, kv: 3 * 2 * 0.25 * (1 - 0.5 ** 4), hiddenShare: 0.5 });
    expect(budget(settings, grouped).least).toBeLessThanOrEqual(budget({ targetParams: 100_000 }, grouped).least);
    // Keys and values count as prunable, because their gates take them away.
    const all = 3 * (8 * 2 * 8 * 64 + 160 * 3 * 64 + 2 * 2 * 8 * 64);
    const left = 0.5 * (3 * 2 * 8 * 64 + 120 * 3 * 64 + 3 * 2 * 0.25 * (1 - 0.5 ** 4) * 2 * 8 * 64);
    expect(sizesAt(grouped, 0.5, settings).prunableSparsity).toBeCloseTo(1 - left / all, 12);
  });
});

describe('a fork of a run with a budget', () => {
  const recorded = budget({ targetParams: 100_000 }, grouped);
  const parent = () => {
    const first = launched({ targetParams: 100_000, targetSparsity: shareToGo(recorded, { targetParams: 100_000 }) });
    return new Story({ ...first, data: { ...first.data, budget: recorded } } as typeof first).start().train(stateAt(10, 0.1)).state;
  };
  const forked = (overrides: Partial<RunSettings>) => {
    const child = new Story();
    const about = { runId: 'c', name: '', requestId: 'q', requestDigest: 'q' };
    child.when({ kind: 'fork', ...about, parent: parent(), from: { kind: 'last' }, overrides, data: null });
    return child.state;
  };

  it('counts as its parent does, to its own amount', () => {
    expect(forked({}).budget).toEqual(recorded);
    const { settings, budget: own } = forked({ targetParams: 150_000 });
    expect(own).toEqual(recorded);
    expect([settings.targetParams, settings.targetSparsity]).toEqual([150_000, 1 - 150_000 / 254_400]);
  });

  it('recovers at the rate of its own amount, unless its parent has another rate than its amount gives', () => {
    const half = budget({ targetParams: 2_112_078 });
    const parent = resolveSettings({ targetParams: 2_112_078 }, undefined, half);
    const little = Math.round(3_443_136 - 0.2 * 2_654_208);
    const rateOf = (settings: RunSettings) => settingsOfFork(settings, { targetParams: little }, half).recoverLearningRate;
    expect([parent.recoverLearningRate, rateOf(parent)]).toEqual([0.001, 0.00043]);
    expect(rateOf({ ...parent, recoverLearningRate: 0.00056 })).toBe(0.00056);
  });

  it('can have no other kind of target, nor an amount out of reach', () => {
    for (const [overrides, field, code] of [
      [{ targetSparsity: 0.3 }, 'target_sparsity', 'FORK_FIELD_FIXED'],
      [{ targetBytes: 300_000 }, 'target_bytes', 'FORK_FIELD_FIXED'],
      [{ targetParams: 1e6 }, 'target_params', 'BUDGET_OUT_OF_REACH'],
    ] as const)
      expect(() => forked(overrides)).toThrow(
        expect.objectContaining({ violations: [expect.objectContaining({ field: `settings.${field}`, code })] }),
      );
    expect(budgetOfForkViolations(undefined, { targetMacs: 0.5 })).toEqual([
      expect.objectContaining({ field: 'settings.target_macs', code: 'FORK_FIELD_FIXED' }),
    ]);
    expect(budgetOfForkViolations(undefined, { targetSparsity: 0.5 })).toEqual([]);
  });
});
