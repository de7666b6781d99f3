// Tests that `audit check` fits its report to the width of the terminal.
import { PassThrough } from 'node:stream';
import stringWidth from 'string-width';
import type { BundleReport } from '#audit';
import { Output } from '../../output/output.js';
import { printBundle } from './audit.js';

const replays = { agreeing: 0, byOtherEngine: 0, differing: 0, engines: [] };
const REPORT: BundleReport = {
  ok: false,
  problems: [
    {
      check: 'artifacts',
      subject: `artifact ${'ab'.repeat(32)}`,
      detail: 'its bytes have another digest, so that the owner of this file can not prove by it what the run was',
    },
  ],
  manifest: null,
  runs: [
    { runId: 'abcdefghij23', events: 1_234_567, metricsEvents: 1, steps: 1_400, ownSteps: 1_400, rewinds: 0, unknownEvents: 0, replays },
    { runId: 'bbbbbbbbbbbb', events: 1, metricsEvents: 12, steps: 1, ownSteps: 1, rewinds: 0, unknownEvents: 0, replays },
  ],
  artifacts: 3,
  instructions: [
    {
      fromStep: 1_234,
      teacher: `snapshot 31, state ${'cd'.repeat(32)}`,
      reason: 'capacity_gap',
      explanation: '41 snapshots exist: the one 10 back is mark 31, of 31.02% expected sparsity at step 1123, as it was taken',
    },
  ],
  signature: 'valid',
  publicKey: 'ef'.repeat(32),
};

function printed(columns: number, withInstructions: boolean, report = REPORT): string[] {
  const stream = new PassThrough();
  const output = new Output({ json: false, colour: false }, { isLive: false, columns, colour: false, unicode: true }, stream);
  printBundle({ output }, report, withInstructions);
  return (stream.read() as Buffer).toString().trimEnd().split('\n');
}

test('the verdict comes first, and the teachers only where they are asked for', () => {
  const lines = printed(200, false);
  expect(lines[0]).toBe('1 problem found,');
  expect(lines.at(-1)).toBe('1 assignment of teachers (--instructions shows them)');
  expect(lines.join(' ')).not.toContain('from step');
});

test.each([60, 80, 200])('audit check fits %i columns', (columns) => {
  const lines = printed(columns, true);
  // A digest stays whole, so that it can be copied.
  expect(lines.filter((line) => stringWidth(line) > columns && !/[0-9a-f]{64}/.test(line))).toEqual([]);
  const text = lines.join(' ').replaceAll(/ +/g, ' ');
  expect(text).toContain('run abcdefghij23: 1,234,567 events, 1 batch of metrics, 1,400 steps');
  expect(text).toContain('run bbbbbbbbbbbb: 1 event, 12 batches of metrics, 1 step ');
  expect(text).toContain('from step 1234: snapshot 31, state cdcdcdcdcdcd (41 snapshots exist');
  expect(text).toContain('1 problem found, signed by efef');
});

test('a bundle that holds is said to rest on engines, except for the steps that were computed twice', () => {
  const twice = { agreeing: 600, byOtherEngine: 200, differing: 0, engines: ['', 'lab'] };
  const [run] = REPORT.runs;
  const manifest = { runId: run!.runId } as BundleReport['manifest'];
  const lines = printed(300, false, { ...REPORT, ok: true, problems: [], manifest, runs: [{ ...run!, replays: twice }] });
  expect(lines.join(' ')).toContain(
    'rest on the engines that computed them, except for steps that were computed twice (verify --replay): ' +
      '600 of 1400 steps, 200 of them by another engine than trained them (a process of the server, lab).',
  );
});
