// Tests declarations and data that are made to run for ever, to take all memory, or to nest without end. Each is refused with an error that
// names its task, and the thread that asked stays free meanwhile.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTasks } from './read-tasks.js';
import { TaskError } from './task-error.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hostile-tasks-'));
  await mkdir(join(folder, 'geo'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function task(fields: string, name = 'mine'): Promise<string> {
  const path = join(folder, `${name}.yaml`);
  await writeFile(path, `task: ${name}\ndata: { folder: geo, split: test }\ngold: right\nmetrics: [acc]\n${fields}`);
  return path;
}

async function rows(...all: unknown[]): Promise<void> {
  const lines = all.map((row) => (typeof row === 'string' ? row : JSON.stringify(row)));
  await writeFile(join(folder, 'geo/test.jsonl'), `${lines.join('\n')}\n`);
}

/** The processor time of this process in ms. The load of other processes does not change it. */
function usedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Returns the error of reading the tasks. Fails if the thread of the test is blocked for long. */
async function refusal(names: string[], silenceMs = 60_000): Promise<TaskError> {
  let longest = 0;
  let last = usedMs();
  const ticking = setInterval(() => {
    const now = usedMs();
    longest = Math.max(longest, now - last);
    last = now;
  }, 20);
  const error = await readTasks(names, { dataFolder: folder, silenceMs }).then(
    () => null,
    (reason: unknown) => reason,
  );
  clearInterval(ticking);
  expect(error).toBeInstanceOf(TaskError);
  expect(longest).toBeLessThan(5_000);
  return error as TaskError;
}

const plain = { right: 0, text: `${'a'.repeat(60)}!` };

test.each([
  // These ranges take little memory: a large range would exhaust memory before the time limit.
  ['a loop', 'prompt: "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}x"\nchoices: [a, b]'],
  ['a pattern', 'prompt: "{{text}}"\nclean: [{ pattern: ["(a+)+$", b] }]\nchoices: [a, b]'],
])('%s that runs for ever is given up, with its task', async (_, fields) => {
  await rows(plain);
  const error = await refusal([await task(fields)], 8_000);
  expect(error).toMatchObject({ code: 'TASK_INVALID', message: expect.stringMatching(/^mine: given up after 8 s .*may run for ever/) });
});

test('it ends with its call', async () => {
  await rows(plain);
  const path = await task('prompt: "{{text}}"\nclean: [{ pattern: ["(a+)+$", b] }]\nchoices: [a, b]');
  await expect(readTasks([path], { dataFolder: folder, signal: AbortSignal.timeout(500) })).rejects.toMatchObject({ name: 'TimeoutError' });
});

test('a million choices', async () => {
  await rows({ right: 0, all: Array.from({ length: 1_000_000 }, (_, index) => `a${index}`) });
  const error = await refusal([await task(`prompt: "${'x'.repeat(5_000)}"\nchoices: all`)]);
  expect(error).toMatchObject({
    code: 'TASK_DATA_INVALID',
    message: expect.stringMatching(/line 1: it has 1000000 choices; at most 1000/),
  });
});

test('texts that grow out of all proportion', async () => {
  await rows(plain);
  const grown = `{ replace: [a, "${'a'.repeat(400)}"] }`;
  const error = await refusal([await task(`prompt: "{{text}}"\nclean: [${grown}, ${grown}, ${grown}]\nchoices: [b, c]`)]);
  expect(error.message).toMatch(/^mine: .*line 1: .*(characters together; at most|too long)/);
});

test('a value that is nested without end', async () => {
  await rows(`{"right":0,"deep":${'['.repeat(200_000)}${']'.repeat(200_000)}}`);
  const error = await refusal([await task('prompt: "{{deep}}"\nchoices: [a, b]')]);
  expect(error).toMatchObject({ code: 'TASK_DATA_INVALID', message: expect.stringMatching(/line 1: .* nested too deeply/) });
});

describe('a mean', () => {
  const mean = async (name: string, of: string): Promise<string> => {
    const path = join(folder, `${name}.yaml`);
    await writeFile(path, `task: ${name}\nkind: mean\nmeans: [{ convention: c, of: ${of} }]\n`);
    return path;
  };

  test.each([
    ['itself', '{ mine: acc }', /mine: it is over acc of mine, which is a mean itself/],
    ['another mean', '{ seven: acc }', /mine: it is over acc of seven, which is a mean itself/],
    ['what a task does not measure', '{ boolq: acc_norm }', /mine: it is over acc_norm of boolq, which has acc$/],
    ['nothing', '{}', /means\.0\.of: must name a task/],
  ])('over %s', async (_, of, message) => {
    expect(await refusal([await mean('mine', of)])).toMatchObject({ code: 'TASK_INVALID', message: expect.stringMatching(message) });
  });
});
