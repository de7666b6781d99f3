// Tests the command check on an export that is changed on the disk in every way. No server is asked.
import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli, type CliResult } from '../../testing/run-cli.js';
import { testExport, TestServer } from '../../testing/test-server.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'checking-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const check = (path: string, ...more: string[]): Promise<CliResult> => runCli(['check', join(folder, path), ...more], { cwd: folder });

async function exported(): Promise<string> {
  const server = await TestServer.start(testExport().answers);
  const result = await runCli(['export', 'abcd', '--out', 'model'], { env: { ESPALIER_SERVER: server.address }, cwd: folder });
  server.stop();
  expect(result.exitCode).toBe(0);
  return join(folder, 'model');
}

test('a folder that nothing happened to is whole, and says its digest', async () => {
  const out = await exported();
  const digest = createHash('sha256').update(await readFile(join(out, 'espalier-export.json'))).digest('hex'); // prettier-ignore
  const whole = await check('model');
  expect(whole).toMatchObject({ exitCode: 0, stderr: '' });
  expect(whole.stdout).toMatch(new RegExp(`model is as it was written: 2 files, 2\\.86 MiB, digest ${digest}\n$`));
  expect((await check('model', '--digest', digest.slice(0, 8))).exitCode).toBe(0);
  const other = await check('model', '--digest', 'abcdef');
  expect(other).toMatchObject({ exitCode: 1, stdout: expect.stringContaining(`its digest is ${digest}, not abcdef`) as string });
  expect((await check('model', '--digest', 'xyz')).exitCode).toBe(2);
  expect(JSON.parse((await check('model', '--json')).stdout)).toMatchObject({ ok: true, kind: 'folder', digest });
});

test('each change of a folder is named', async () => {
  const out = await exported();
  const weights = await readFile(join(out, 'model.safetensors'));
  weights[1_234_567]! ^= 1;
  await writeFile(join(out, 'model.safetensors'), weights);
  expect((await check('model')).stdout).toMatch(/^model\.safetensors: its bytes are others\n.*is not as it was written: 1 problem\n$/);
  await appendFile(join(out, 'model.safetensors'), 'x');
  await rename(join(out, 'config.json'), join(out, 'config.old'));
  const result = await check('model');
  expect(result.exitCode).toBe(1);
  expect(result.stdout).toContain('model.safetensors: it has 3000001 bytes, not 3000000');
  expect(result.stdout).toContain('config.json: it is missing');
  expect(result.stdout).toContain('config.old: the export had no such file');
  expect(JSON.parse((await check('model', '--json')).stdout)).toMatchObject({ ok: false, files: expect.any(Array) as unknown[] });
  await writeFile(join(out, 'espalier-export.json'), '{"espalierExportManifest":1}');
  expect((await check('model')).stderr).toMatch(/EXPORT_UNKNOWN: .*no espalier-export\.json that can be read/);
});

/** Seals a file as the core does: with the digest of all bytes, computed with zeros in the digest's place. */
function sealed(body: Buffer): Buffer {
  const key = Buffer.from('espalier.sha256');
  const number = (value: number, bytes: number): Buffer => {
    const out = Buffer.alloc(bytes);
    out.writeUInt32LE(value);
    return out;
  };
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    number(3, 4),
    number(0, 8),
    number(1, 8),
    number(key.length, 8),
    key,
    number(8, 4),
    number(64, 8),
  ]);
  const digest = createHash('sha256').update(head).update('0'.repeat(64)).update(body).digest('hex');
  return Buffer.concat([head, Buffer.from(digest), body]);
}

test('a GGUF file proves itself, and every flipped byte is found', async () => {
  const file = sealed(Buffer.alloc(300_000, 7));
  await writeFile(join(folder, 'm.gguf'), file);
  const whole = await check('m.gguf');
  expect(whole).toMatchObject({ exitCode: 0, stderr: '' });
  expect(whole.stdout).toContain(`digest ${createHash('sha256').update(file).digest('hex')}`);
  for (const at of [5, 47, 60, 110, 131, 299_000]) {
    const damaged = Buffer.from(file);
    damaged[at]! ^= 1;
    await writeFile(join(folder, 'm.gguf'), damaged);
    expect((await check('m.gguf')).exitCode).toBe(1);
  }
  await writeFile(join(folder, 'm.gguf'), file.subarray(0, -1));
  expect(await check('m.gguf')).toMatchObject({ exitCode: 1, stdout: expect.stringContaining('its bytes do not match') as string });
});

test('what is not an export is named as such', async () => {
  await writeFile(join(folder, 'notes.txt'), 'precious');
  expect((await check('notes.txt')).stderr).toMatch(/EXPORT_UNKNOWN: .*it is not a GGUF file/);
  await writeFile(join(folder, 'other.gguf'), 'GGUF of another program');
  expect((await check('other.gguf')).stderr).toMatch(/holds no digest of itself/);
  expect((await check('.')).stderr).toMatch(/EXPORT_UNKNOWN: .*espalier-export\.json/);
  expect(await check('nowhere')).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('EXPORT_NOT_FOUND') as string });
});
