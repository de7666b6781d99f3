// Tests the last output of a quickstart, with a server that goes on and without one.
import { PassThrough } from 'node:stream';
import { v1 } from '#protocol';
import type { Context } from '../command-context.js';
import { Output } from '../output/output.js';
import { printQuickstart, type QuickstartResult } from './quickstart-report.js';
import type { RunningStack } from '../local-server/stack.js';

const result: QuickstartResult = {
  steps: 10,
  target_sparsity: 0.5,
  sparsity: 0.5,
  parameters_dense: 100,
  parameters_pruned: 50,
  bytes_dense: 200,
  bytes_pruned: 100,
  perplexity_intact: 5,
  perplexity_masked: 6,
  perplexity_exported: 6,
  state_digest: 'ab'.repeat(32),
  teachers: 0,
  training_seconds: 1,
  total_seconds: 2,
  tokens_per_second: 1000,
};

function printed(stack: RunningStack | null): string {
  const stdout = new PassThrough();
  const output = new Output({ json: false, colour: false }, { isLive: false, columns: 120, colour: false, unicode: true }, stdout);
  const context = { output, dataFolder: '/data/here' } as Context;
  printQuickstart(
    context,
    { run: v1.Run.fromPartial({ runId: 'abcdefghijkl', step: 10n }), teachers: [], exportFolder: '/x', result },
    stack,
  );
  return String(stdout.read());
}

test('says that the server keeps running, and how to stop it', () => {
  const text = printed({ pid: 7, listen: '127.0.0.1:1', logFile: '/data/server.log', wasRunning: false });
  expect(text).toMatch(/^The server keeps running \(process 7, log \/data\/server\.log\)\.$/m);
  expect(text).toMatch(/ down +# stop the server$/m);
  expect(text).not.toContain('up --detach');
});

test('says nothing of a server that is to stop, but how to start one for the commands that it proposes', () => {
  const text = printed(null);
  expect(text).not.toMatch(/keeps running|Look at it| down /);
  expect(text).toMatch(/Try next:\n {2}npx espalier --data-folder \/data\/here up --detach +# start the server again/);
});
