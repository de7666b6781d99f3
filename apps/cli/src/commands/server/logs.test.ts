import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli, runProcess } from '../../testing/run-cli.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'logs-'));
});
afterEach(() => rm(folder, { recursive: true }));
const at = (time: number, msg: string, more: object = {}) => `${JSON.stringify({ level: 30, time, pid: 1, ...more, msg })}\n`;
const logs = (...args: string[]) => runCli(['logs', ...args, '--data-folder', folder]);

test('the three logs are one, in the order of time; the newest lines, of one source on demand', async () => {
  await writeFile(
    join(folder, 'server.log'),
    at(1000, 'first') +
      at(3000, 'engine', { engine: at(2900, 'loaded', { level: 40 }).trim() }) +
      at(4000, 'gone', { err: { message: 'why \u001b[2J' } }) +
      'plain words\n',
  );
  await writeFile(join(folder, 'event-store.log'), at(2000, 'checkpoint'));
  const { stdout, exitCode } = await logs();
  expect(exitCode).toBe(0);
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.slice(21)),
  ).toEqual(
    [
      'info   orchestrator  first',
      'info   event-store   checkpoint',
      'warn   engine        loaded',
      'info   orchestrator  gone: why \\u{1b}[2J',
      'info   orchestrator  plain words',
    ].map((line) => expect.stringContaining(line.trim())),
  );
  expect((await logs('--source', 'engine')).stdout.trim().split('\n')).toHaveLength(1);
  expect((await logs('--lines', '2')).stdout.trim().split('\n')).toHaveLength(2);
  expect(JSON.parse((await logs('--lines', '1', '--json')).stdout)).toEqual({ source: 'orchestrator', logged: 'plain words' });
});

test('--follow goes on with what is written, also when the file comes later', async () => {
  let sent = false;
  const writing = sleep(1500).then(() => appendFile(join(folder, 'server.log'), at(1000, 'late')));
  const result = await runProcess(['logs', '--follow', '--data-folder', folder], {
    onOutput: (sofar, kill) => {
      if (!sent && sofar.includes('late')) kill('SIGINT');
      sent ||= sofar.includes('late');
    },
  });
  await writing;
  expect(result).toMatchObject({ exitCode: 130, stderr: '' });
});

test('no log is said as such', async () =>
  expect(await logs()).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('LOG_NOT_FOUND') }));

test('help for people and for programs; nothing asked for is asking for help', async () => {
  expect((await runCli([])).stdout).toMatch(/A first session:[^]* launch --model M --data T --validation V [^]* eval RUN /);
  expect(await runCli(['help', 'nope'])).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('COMMAND_UNKNOWN') });
  expect((await runCli(['help', 'store', 'stats'])).stdout).toMatch(/Usage: espalier store stats/);
  const help = JSON.parse((await runCli(['help', '--json'])).stdout) as { commands: { name: string }[] };
  expect(help.commands.map(({ name }) => name)).toEqual(expect.arrayContaining(['launch', 'status']));
  expect((await runCli(['launch', '--help'])).stdout).toMatch(/--steps <steps> +[^-]+default:\s+600;\s+short: 1400;\s+paper: 8750/);
});
