import { execFileSync } from 'node:child_process';
import { buildProgram } from '../program.js';
import { runCli } from '../testing/run-cli.js';
import { candidates } from './completion.js';

const names = (runs: string[]) => ({ runs: async () => runs, studies: async () => ['two recipes', 'st3xaaaabbbb'] });
const complete = (...words: string[]) => candidates(buildProgram(), words, names(['k3f9aaaabbbb', 'first try', 'k3x7aaaabbbb']));

test('commands, of a command its own, and options', async () => {
  expect(await complete('lau')).toEqual(['launch']);
  expect(await complete('')).toEqual(expect.arrayContaining(['up', 'status', 'logs', 'runs', 'help']));
  expect(await complete('')).not.toContain('complete');
  expect(await complete('store', '')).toEqual(['stats']);
  expect(await complete('launch', '--ste')).toEqual(['--steps']);
  expect(await complete('--data-folder', '/tmp/x', 'show', '--js')).toEqual(['--json']);
});

test('runs by id and name where a run is asked for; files elsewhere', async () => {
  expect(await complete('show', 'k3')).toEqual(['k3f9aaaabbbb', 'k3x7aaaabbbb']);
  expect(await complete('fork', '--from-teacher', '20', 'fi')).toEqual(['first try']);
  expect(await complete('diff', 'k3f9', 'k3x')).toEqual(['k3x7aaaabbbb']);
  expect(await complete('runs', '--parent', 'k3f')).toEqual(['k3f9aaaabbbb']);
  expect(await complete('launch', '--model', '')).toEqual([]);
  expect(await complete('show', 'k3f9', '')).toEqual([]);
  expect(await complete('delete', 'k3f9aaaabbbb', 'k3x')).toEqual(['k3x7aaaabbbb']);
});

test('studies by name and id where a study is asked for', async () => {
  for (const command of ['show', 'cancel']) expect(await complete('study', command, '')).toEqual(['two recipes', 'st3xaaaabbbb']);
  expect(await complete('study', 'launch', '')).toEqual([]);
});

test('the words that an option takes, once each', async () => {
  expect(await complete('launch', '--preset', '')).toEqual(['short', 'paper', 'nuteprune2', 'fisher']);
  expect(await complete('runs', '--status', 'queued,pa')).toEqual(['queued,paused']);
  expect(await complete('metrics', 'k3f9', '--export', 'c')).toEqual(['csv']);
  expect(await complete('eval', 'k3f9', '--export', '')).toEqual([]);
  expect(await complete('up', '--log-level', 'w')).toEqual(['warn']);
  expect(await complete('completion', '')).toEqual(['bash', 'zsh', 'fish']);
  for (const command of ['launch', 'runs', 'fork']) {
    const options = await complete(command, '-');
    expect(options).toEqual([...new Set(options)]);
  }
  expect(await complete('fork', 'k3f9', '--batch')).toEqual([]); // a fork always refuses it
  expect(await candidates(buildProgram(), ['show', ''], names(['k3f9aaaabbbb', 'twin', 'k3x7aaaabbbb', 'twin']))).toEqual([
    'k3f9aaaabbbb',
    'twin',
    'k3x7aaaabbbb',
  ]);
});

test('the scripts are valid, and ask the command', async () => {
  const bash = await runCli(['completion', 'bash']);
  expect(bash.exitCode).toBe(0);
  execFileSync('bash', ['-n'], { input: bash.stdout });
  for (const shell of ['zsh', 'fish']) expect((await runCli(['completion', shell])).stdout).toContain('espalier complete --');
  expect((await runCli(['completion', 'tcsh'])).exitCode).toBe(2);
  expect((await runCli(['complete', '--', 'launch', '--ste'])).stdout).toBe('--steps\n');
});
