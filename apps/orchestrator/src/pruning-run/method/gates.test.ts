// Tests which sets of gates a run may have, and what its events record of them.
import { readFileSync } from 'node:fs';
import { launched, stateAt, Story } from '../testing.js';
import { blockGatesOf, gateViolations, groupViolations, LOG_ALPHA_MAX, LOG_ALPHA_MIN, openProbability } from './gates.js';
import { resolveSettings, settingsViolations, type RequestedSettings } from './run-settings.js';

const ALL = ['head', 'unit', 'hidden', 'kv-group', 'attention', 'mlp'];

// The engine has this formula too (hard_concrete.h), and method_test.cpp reads the same file.
test('the probability that a gate is open agrees with the test vector that C++ reads', () => {
  const rows = readFileSync('testdata/vectors/open-probability.txt', 'utf8').trim().split('\n');
  const pairs = rows.map((row) => row.split(' ').map(Number) as [logAlpha: number, open: number]);
  for (const [logAlpha, open] of pairs) expect(Math.abs(openProbability(logAlpha) - open)).toBeLessThanOrEqual(1e-15);
  expect([pairs[0]?.[0], pairs.at(-1)?.[0]]).toEqual([LOG_ALPHA_MIN, LOG_ALPHA_MAX]);
});

describe('gates of a run', () => {
  const violations = (settings: RequestedSettings): (string | undefined)[] =>
    settingsViolations(resolveSettings(settings)).map(({ field, description }) => `${field} ${description}`);

  it('are the published set where a request and its preset name none', () => {
    for (const preset of ['short', 'paper', 'nuteprune2', 'fisher']) {
      expect(resolveSettings({ preset }).gates).toEqual(['head', 'unit', 'hidden']);
      expect(blockGatesOf(resolveSettings({ preset }))).toEqual({ kvGroup: false, attention: false, mlp: false });
    }
    expect(resolveSettings({ gates: [...ALL].reverse() }).gates).toEqual(ALL);
    expect(violations({ gates: ALL })).toEqual([]);
  });

  it('are refused by name where a set has no meaning', () => {
    expect(violations({ gates: ['head', 'kv-group'] })).toEqual([expect.stringContaining('settings.gates lacks unit, hidden')]);
    expect(violations({ gates: [...ALL, 'mlp', 'mlp', 'head'] })).toEqual([
      'settings.gates must name each once; "head", "mlp" is named again',
    ]);
    expect(violations({ gates: [] })).toEqual(['settings.gates must name at least one']);
    expect(violations({ gates: [...ALL, 'layer'] })).toEqual([expect.stringContaining('"layer" is not')]);
    expect(violations({ gates: ALL, shapeTarget: 'vllm' })).toEqual([expect.stringContaining('has kv-group, but shape_target vllm')]);
    expect(violations({ gates: ['head', 'unit', 'hidden', 'mlp'], shapeTarget: 'vllm' })).toEqual([]);
    for (const one of ['attention', 'mlp'])
      expect(gateViolations({ gates: ['head', 'unit', 'hidden', one], shapeTarget: 'uniform' })).toHaveLength(1);
    expect(gateViolations({ gates: ALL, shapeTarget: 'uniform' })).toEqual([]);
  });

  it('have groups only where query heads share keys', () => {
    expect(groupViolations({ gates: ALL }, { heads: 6, kvHeads: 6 })).toMatchObject([{ field: 'settings.gates' }]);
    expect(groupViolations({ gates: ALL }, { heads: 6, kvHeads: 3 })).toEqual([]);
    expect(groupViolations({ gates: ['head', 'unit', 'hidden', 'mlp'] }, { heads: 6, kvHeads: 6 })).toEqual([]);
  });

  it('stay in forks', () => {
    const parent = new Story(launched({ gates: ALL })).start().train(stateAt(10, 0.1)).state;
    expect(parent.settings.gates).toEqual(ALL);
    const about = { runId: 'c', name: '', requestId: 'q', requestDigest: 'q', from: { kind: 'last' } as const, data: null };
    const child = new Story();
    child.when({ kind: 'fork', ...about, parent, overrides: { targetSparsity: 0.3 } });
    expect(child.state.settings.gates).toEqual(ALL);
  });
});

test('what is recorded of key/value heads is folded into the run', () => {
  const story = new Story(launched({ gates: ALL })).start().train({ ...stateAt(10, 0.1), kvHeadsOpen: [2, 1, 0] });
  expect(story.state.current).toMatchObject({ kvHeadsOpen: [2, 1, 0] });
});
