// Tests standard output in a narrow terminal, on a full disk, and when its reader closes it.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programFile } from '#files';
import { buildProgram } from '../program.js';
import { runCli } from '../testing/run-cli.js';
import type { Command } from 'commander';

const MAIN = programFile(new URL('../main.js', import.meta.url));
const shell = (command: string): Promise<{ exitCode: number; stderr: string }> =>
  new Promise((resolve) =>
    execFile('bash', ['-c', command.replace('espalier', `'${process.execPath}' '${MAIN}'`)], (error, _, stderr) =>
      resolve({ exitCode: error === null ? 0 : Number(error.code), stderr }),
    ),
  );

(existsSync('/dev/full') ? test : test.skip)('without room it is one line and exit code 1', async () => {
  const text = "standard output can't be written: no space is left";
  expect(await shell('espalier help > /dev/full')).toEqual({ exitCode: 1, stderr: `error OUTPUT_FAILED: ${text}\n` });
  const json = await shell('espalier help --json > /dev/full');
  expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'OUTPUT_FAILED', message: text }, exit_code: 1 });
});

test('a reader that has enough ends the command quietly', async () => {
  expect(await shell('set -o pipefail; espalier help --json | head -1')).toEqual({ exitCode: 0, stderr: '' });
});

test('a check whose reader has enough still says what it found', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-closed-'));
  const bundle = join(folder, 'no.audit.tar');
  writeFileSync(bundle, Buffer.alloc(10_240));
  const { exitCode } = await shell(`set -o pipefail; espalier audit check '${bundle}' | true`);
  rmSync(folder, { recursive: true });
  expect(exitCode).toBe(1);
});

test('help fits 80 columns, for every command, and shows no default that is nothing', async () => {
  const commands = (command: Command): Command[] => [command, ...command.commands.flatMap(commands)];
  for (const command of commands(buildProgram())) {
    let text = '';
    command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 80 });
    command.outputHelp();
    expect(text.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(text).not.toMatch(/default: ""/);
  }
  expect((await runCli(['help', 'fork'])).stdout).not.toMatch(/--batch-size/); // a fork always refuses it
});
