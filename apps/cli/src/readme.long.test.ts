// Tests that README's ten commands work as they stand there, one after the other, in a folder that has the repository's examples.
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCli, type CliResult } from './testing/run-cli.js';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
/** Options that leave a command as it is, and only make it short, or keep it from the machine's other servers. */
const ADDED: Record<string, string[]> = {
  up: ['--listen', '127.0.0.1:0', '--web', '127.0.0.1:0'],
  launch: ['--steps', '210', '--recover-steps', '0', '--batch-size', '1', '--sequence-length', '32', '--evaluation-tokens', '2048'],
  ladder: ['--target-params', '3M'], // of six models it measures the speed of one
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-readme-'));
  await symlink(join(ROOT, 'examples'), join(folder, 'examples'));
});
afterAll(async () => {
  await espalier(['down']);
  await rm(folder, { recursive: true, force: true });
});

const espalier = (args: string[]): Promise<CliResult> =>
  runCli(args, { cwd: folder, env: { ESPALIER_DATA_FOLDER: join(folder, 'server') } });

/** The commands of the page's block, without their comments. */
async function commands(): Promise<string[][]> {
  const page = await readFile(join(ROOT, 'README.md'), 'utf8');
  const block = /## Ten commands\n\n```sh\n([^`]*)```/.exec(page)![1]!;
  const lines = block.replaceAll(/\\\n/g, ' ').split('\n');
  return lines.filter((line) => line !== '').map((line) => line.replace(/ #.*$/, '').trim().split(/\s+/));
}

test('the ten commands of README work as they stand', async () => {
  const all = await commands();
  expect(all.map(([npx, program]) => `${npx} ${program}`)).toEqual(Array(10).fill('npx espalier'));
  for (const [, , name, ...rest] of all) {
    const { exitCode, stdout, stderr } = await espalier([name!, ...rest, ...(ADDED[name!] ?? [])]);
    if (exitCode !== 0) throw new Error(`${name} ended with ${exitCode}:\n${stdout}${stderr}`);
  }
});
