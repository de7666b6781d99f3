// Tests that commands which follow a real server outlive its deaths. stack.test.ts starts and stops one in good order.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readServerFile } from '../connection/server-address.js';
import { runProcess, type CliResult } from '../testing/run-cli.js';

let folder: string;
// Runs take a second here. The short interval lets tests see unfinished ones.
const env = { ESPALIER_RECORD_INTERVAL_MS: '20' };
const espalier = (...args: string[]) => runProcess([...args, '--data-folder', folder], { env });
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-stack-'));
});
afterEach(async () => {
  await espalier('down');
  await rm(folder, { recursive: true, force: true });
});

test('history --follow and watch outlive a server that is killed again and again: every event and every step once', async () => {
  const root = fileURLToPath(new URL('../../../../../', import.meta.url));
  const up = (): Promise<unknown> => espalier('up', '--detach', '--listen', '127.0.0.1:0', '--threads', '1');
  await up();
  const all = follow('history', '--follow');
  const launched = await espalier(
    'launch',
    '--model',
    `${root}testdata/models/gqa-random-tiny`,
    '--data',
    `${root}examples/data/factbook/validation.jsonl`,
    '--steps',
    '100000', // far more steps than are done before the run is cancelled
    '--batch-size',
    '2',
    '--sequence-length',
    '32',
    '--segment-steps',
    '10',
    '--target-sparsity',
    '0.2',
    '--json',
  );
  const runId = (JSON.parse(launched.stdout) as { run_id: string }).run_id;
  const one = follow('history', runId, '--follow');
  const watched = follow('watch', runId, '--after-revision', '0');
  const followers = [all, one, watched];
  const stepNow = async (): Promise<number> => (JSON.parse((await espalier('show', runId, '--json')).stdout) as { step: number }).step;
  for (const kills of [0, 1, 2]) {
    for (const follower of followers) await follower.has(() => follower.hasSaid('{') && follower.timesConnectedAgain() === kills);
    const before = await stepNow();
    while ((await stepNow()) < before + 20) await sleep(10);
    if (kills === 2) break;
    process.kill(readServerFile(folder)!.pid, 'SIGKILL');
    await up();
  }
  expect((await espalier('cancel', runId)).exitCode).toBe(0);
  expect((await watched.ended).exitCode).toBe(1); // the run did not complete
  for (const history of [all, one]) {
    await history.has(() => history.hasSaid('"RunCancelled"'));
    history.stop('SIGINT');
    await history.ended;
  }
  const { events } = JSON.parse((await espalier('history', runId, '--json')).stdout) as { events: { event_id: string }[] };
  const recorded = events.map((event) => event.event_id);
  expect(one.lines.map((event) => event['event_id'])).toEqual(recorded);
  expect(all.lines.map((event) => event['event_id'])).toEqual(recorded.slice(-all.lines.length)); // from the time when it began to listen
  const seen = watched.lines.flatMap((update) => update['steps'] as { step: number }[]).map(({ step }) => step);
  expect(seen).toEqual(Array.from(seen, (_, step) => step));
  expect(seen.length).toBeGreaterThanOrEqual(await stepNow());
});

interface Follower {
  /** All that the command has printed. */
  readonly lines: Record<string, unknown>[];
  hasSaid: (text: string) => boolean;
  timesConnectedAgain: () => number;
  /** Resolves when the condition is true. Rejects with the command's last words if the command ends before. */
  has: (isSo: () => boolean) => Promise<void>;
  stop: (signal: NodeJS.Signals) => void;
  ended: Promise<CliResult>;
}

function follow(...args: string[]): Follower {
  let [stdout, stderr, over] = ['', '', false];
  let stop: Follower['stop'] = () => undefined;
  const ended = runProcess([...args, '--json', '--data-folder', folder], {
    onOutput: (sofar) => (stdout = sofar),
    onErrorOutput: (sofar) => (stderr = sofar),
    stop: new Promise((resolve) => (stop = resolve)),
  });
  void ended.then(() => (over = true));
  return {
    get lines() {
      const whole = stdout.slice(0, stdout.lastIndexOf('\n') + 1).split('\n');
      return whole.slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    hasSaid: (text) => stdout.includes(text),
    timesConnectedAgain: () => stderr.split('connected again').length - 1,
    has: async (isSo) => {
      while (!isSo()) {
        if (over) throw new Error(`${args.join(' ')} has ended: ${stderr}`);
        await sleep(10);
      }
    },
    stop: (signal) => stop(signal),
    ended,
  };
}
