// Tests that a command's result only replaces an earlier result of the same kind.
import { createHash } from 'node:crypto';
import { lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventsEntry, tarHeader } from '#audit';
import { ownerName } from '#files';
import { v1 } from '#protocol';
import { runCli, runProcess, type CliResult } from '../testing/run-cli.js';
import { testExport, TestServer } from '../testing/test-server.js';

let folder: string;
let server: TestServer;
const bundle = () => Buffer.concat([tarHeader(eventsEntry('abcdefghij23', 0), 3), Buffer.from('{}\n')]);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'overwriting-'));
  server = await TestServer.start({
    ...testExport().answers,
    async *exportMetrics({ format }) {
      yield v1.ExportMetricsResponse.fromPartial({
        chunk: Buffer.from(format === 'csv' ? 'branch,attempt,abandoned,step,loss\n' : '{"branch":0,"attempt":1,"abandoned":false}\n'),
      });
    },
    async *exportAudit() {
      yield v1.ExportAuditResponse.fromPartial({ chunk: bundle() });
    },
  });
});
afterEach(async () => {
  server.stop();
  await rm(folder, { recursive: true, force: true });
});
const espalier = (...args: string[]): Promise<CliResult> => runCli(args, { env: { ESPALIER_SERVER: server.address }, cwd: folder });

describe('what a killed export left', () => {
  const names = (): Promise<string[]> => readdir(folder).then((all) => all.sort());

  /** Runs a command that is killed while files arrive. */
  async function killed(...args: string[]): Promise<string> {
    const hanging = await TestServer.start({
      ...testExport().answers,
      async *downloadArtifact(_request, signal) {
        yield v1.DownloadArtifactResponse.fromPartial({ totalBytes: 3_000_000n, chunk: Buffer.alloc(1_000) });
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
    const stop = (async () => {
      while (!(await names()).some((name) => name.endsWith('.incoming'))) await sleep(10);
      return 'SIGKILL' as const;
    })();
    await runProcess(['export', 'abcd', ...args], { env: { ESPALIER_SERVER: hanging.address }, cwd: folder, stop });
    hanging.stop();
    return (await names()).find((name) => name.endsWith('.incoming'))!;
  }

  test('goes with the next one, which says so', async () => {
    const left = await killed('--out', 'model');
    expect(left).toMatch(/^\.model\..+\.incoming$/);
    const next = await espalier('export', 'abcd', '--out', 'other');
    expect(next.exitCode).toBe(0);
    expect(next.stderr).toContain(`removed ${join(folder, left)}, which a command left unfinished when it was killed`);
    expect(await names()).toEqual(['other']);
  });

  test('goes with gc, but not in a dry run', async () => {
    const left = await killed('--out', 'model');
    const gc = async (...more: string[]): Promise<CliResult> => {
      const server = await TestServer.start({
        async *collectGarbage() {
          yield v1.CollectGarbageResponse.fromPartial({ doneShare: 1 });
        },
      });
      const result = await runCli(['gc', ...more], { env: { ESPALIER_SERVER: server.address }, cwd: folder });
      server.stop();
      return result;
    };
    expect((await gc('--dry-run')).exitCode).toBe(0);
    expect(await names()).toEqual([left]);
    expect((await gc()).stderr).toContain(left);
    expect(await names()).toEqual([]);
  });

  test('between its two renames: the older export gets its name back', async () => {
    expect((await espalier('export', 'abcd', '--out', 'model')).exitCode).toBe(0);
    const left = await killed('--out', 'other');
    const incoming = left.replace('.other.', '.model.');
    await rename(join(folder, left), join(folder, incoming));
    await rename(join(folder, 'model'), join(folder, `${incoming}.replaced`));
    const same = await espalier('export', 'abcd', '--out', 'model');
    expect(same).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('FOLDER_EXISTS') as string });
    expect(await names()).toEqual([incoming, 'model']);
    expect((await readdir(join(folder, 'model'))).sort()).toContain('model.safetensors');
    expect((await espalier('export', 'abcd', '--out', 'new', '--force')).exitCode).toBe(0);
    expect(await names()).toEqual(['model', 'new']);
  });

  test('of a command that lives stays', async () => {
    const mine = `.model.${ownerName()}.0a1b2c3d.incoming`;
    await writeFile(join(folder, mine), 'half');
    expect((await espalier('export', 'abcd', '--out', 'other')).exitCode).toBe(0);
    expect(await names()).toEqual([mine, 'other']);
  });
});

describe('export --force', () => {
  const exportTo = (out: string) => espalier('export', 'abcd', '--out', out, '--force');
  const refused = async (out: string, why: RegExp): Promise<void> => {
    const result = await exportTo(out);
    expect(result).toMatchObject({ exitCode: 5, stdout: '' });
    expect(result.stderr).toMatch(/FOLDER_FOREIGN/);
    expect(result.stderr).toMatch(why);
  };

  test('replaces an export of ours, and leaves nothing beside it', async () => {
    expect((await exportTo('model')).exitCode).toBe(0);
    expect((await exportTo('model/')).exitCode).toBe(0);
    expect(await readdir(folder)).toEqual(['model']);
    expect((await readdir(join(folder, 'model'))).sort()).toEqual(['config.json', 'espalier-export.json', 'model.safetensors']);
  });

  test('leaves a folder of the user alone', async () => {
    await mkdir(join(folder, 'work'));
    await writeFile(join(folder, 'work/corpus.txt'), 'the work of months');
    await refused('work', /it has no espalier-export\.json/);
    expect(await readFile(join(folder, 'work/corpus.txt'), 'utf8')).toBe('the work of months');
    await writeFile(join(folder, 'file'), 'x');
    await refused('file', /it is a file/);
    await refused('.', /you are in it/);
    await refused('..', /you are in it/);
    await refused('/', /you are in it/);
  });

  test('leaves an export alone that is not as we wrote it', async () => {
    await exportTo('model');
    await writeFile(join(folder, 'model/notes.md'), 'mine');
    await refused('model', /it holds "notes\.md"/);
    await rm(join(folder, 'model/notes.md'));
    await mkdir(join(folder, 'model/adapter'));
    await refused('model', /it holds "adapter"/);
    await rm(join(folder, 'model/adapter'), { recursive: true });
    await writeFile(join(folder, 'model/config.json'), '{"a":2}');
    await refused('model', /config\.json has been changed/);
    await rm(join(folder, 'model/config.json'));
    await refused('model', /config\.json is missing/);
    await symlink('../elsewhere.json', join(folder, 'model/config.json'));
    await refused('model', /it holds "config\.json"/);
    expect((await readdir(folder)).sort()).toEqual(['model']);
  });

  test('follows no link', async () => {
    await exportTo('model');
    await symlink('model', join(folder, 'link'));
    for (const out of ['link', 'link/']) await refused(out, /it is a symbolic link/);
    expect((await lstat(join(folder, 'link'))).isSymbolicLink()).toBe(true);
    await symlink('nowhere', join(folder, 'dangling'));
    await refused('dangling', /it is a symbolic link/);
  });

  test('is not written among the files of a server', async () => {
    await mkdir(join(folder, 'data'));
    await writeFile(join(folder, 'data', 'orchestrator.id'), 'x');
    for (const place of ['data/artifacts/model', 'data/model']) {
      const result = await espalier('export', 'abcd', '--out', place);
      expect(result).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/DATA_FOLDER_OF_SERVER: --out/) });
    }
    expect((await espalier('metrics', 'abcd', '--export', 'csv', '--out', 'data/m.csv')).stderr).toMatch(/DATA_FOLDER_OF_SERVER/);
    expect((await espalier('export', 'abcd', '--out', 'data/exports/model')).exitCode).toBe(0); // quickstart writes there too
  });

  test('fills an empty folder; --out without a name is refused', async () => {
    await mkdir(join(folder, 'empty'));
    expect((await espalier('export', 'abcd', '--out', 'empty')).exitCode).toBe(0);
    expect((await espalier('export', 'abcd', '--out', '')).exitCode).toBe(2);
  });

  test('the old export stays when the new one does not arrive', async () => {
    await exportTo('model');
    const { answers } = testExport();
    const broken = await TestServer.start({
      ...answers,
      async *downloadArtifact(request, signal) {
        for await (const response of answers.downloadArtifact(request, signal))
          yield { ...response, chunk: Buffer.from(response.chunk.map((byte) => byte ^ 1)) };
      },
    });
    try {
      expect((await runCli(['export', 'abcd', '--out', 'model', '--force', '--server', broken.address], { cwd: folder })).exitCode).toBe(1);
    } finally {
      broken.stop();
    }
    expect(await readdir(folder)).toEqual(['model']);
    expect(await readFile(join(folder, 'model/config.json'), 'utf8')).toBe('{"a":1}');
  });
});

test('export --force of one GGUF file replaces a GGUF file that Espalier wrote, and nothing else', async () => {
  const head = (key: string): Buffer => Buffer.concat([Buffer.from('GGUF'), Buffer.from([3, 0, 0, 0]), Buffer.from(key)]);
  const written = head('espalier.model_card');
  const { answers, digest } = testExport();
  const gguf = await TestServer.start({
    ...answers,
    statArtifact: () =>
      v1.StatArtifactResponse.fromPartial({
        bytes: 100n,
        files: [{ name: 'model.gguf', bytes: BigInt(written.length), digest: createHash('sha256').update(written).digest('hex') }],
      }),
    async *downloadArtifact() {
      yield v1.DownloadArtifactResponse.fromPartial({ totalBytes: BigInt(written.length), chunk: written });
    },
  });
  const file = join(folder, 'model.gguf');
  const exported = (...more: string[]) => runCli(['export', 'abcd', '--out', file, '--server', gguf.address, ...more], { cwd: folder });
  try {
    const first = await exported();
    expect(first).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(digest.slice(0, 12)) });
    expect(await exported()).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('FILE_EXISTS') });
    await writeFile(file, head('espalier.model_card and an older export'));
    const again = await exported('--force', '--json');
    // The size is that of the file, without what else the export's folder would hold, such as its README.
    expect(Number((JSON.parse(again.stdout) as { bytes: string }).bytes)).toBe(written.length);
    expect(await readFile(file)).toEqual(written);
    for (const foreign of [head('general.architecture'), Buffer.from('the work of months')]) {
      await writeFile(file, foreign);
      const why = /FILE_FOREIGN: .*it is not a GGUF file that Espalier wrote/;
      expect(await exported('--force')).toMatchObject({ exitCode: 5, stderr: expect.stringMatching(why) });
      expect(await readFile(file)).toEqual(foreign);
    }
    expect(await readdir(folder)).toEqual(['model.gguf']);
  } finally {
    gguf.stop();
  }
});

describe.each([
  ['metrics', ['metrics', 'abcd', '--export', 'csv', '--out', 'result'], 'it is not a file of metrics'],
  ['jsonl', ['metrics', 'abcd', '--export', 'jsonl', '--out', 'result'], 'it is not a file of metrics'],
  ['audit export', ['audit', 'export', 'abcd', '--out', 'result'], 'it is not an audit bundle'],
])('%s', (_, command, why) => {
  test('replaces its own kind with --force only, and nothing else ever', async () => {
    expect((await espalier(...command)).exitCode).toBe(0);
    const again = await espalier(...command);
    expect(again.exitCode).toBe(5);
    expect(again.stderr).toMatch(/FILE_EXISTS[^]*--force/);
    expect((await espalier(...command, '--force')).exitCode).toBe(0);
    await writeFile(join(folder, 'result'), 'the work of months');
    const foreign = await espalier(...command, '--force');
    expect(foreign.exitCode).toBe(5);
    expect(foreign.stderr).toContain(why);
    expect(await readFile(join(folder, 'result'), 'utf8')).toBe('the work of months');
    await rm(join(folder, 'result'));
    await symlink('/dev/null', join(folder, 'result'));
    expect((await espalier(...command, '--force')).stderr).toMatch(/FILE_FOREIGN[^]*symbolic link/);
  });
});

test('quickstart --json: another file is left alone, and told before anything starts', async () => {
  await writeFile(join(folder, 'package.json'), '{"name":"mine"}');
  const refused = await espalier('quickstart', '--json', 'package.json', '--data-folder', 'data');
  expect(refused.exitCode).toBe(5);
  expect(refused.stderr).toMatch(/FILE_FOREIGN[^]*result of a quickstart/);
  expect(await readdir(folder)).toEqual(['package.json']);
});

test('up: a folder of the user is not a data folder', async () => {
  await writeFile(join(folder, 'corpus.txt'), 'x');
  const refused = await espalier('up', '--detach', '--data-folder', '.', '--listen', '127.0.0.1:0');
  expect(refused.exitCode).toBe(2);
  expect(refused.stderr).toMatch(/DATA_FOLDER_FOREIGN[^]*"corpus\.txt"/);
  expect(await readdir(folder)).toEqual(['corpus.txt']);
});

test('missing folders above a result are made, by each command alike', async () => {
  for (const command of [
    ['export', 'abcd', '--out', 'a/b/model'],
    ['metrics', 'abcd', '--export', 'csv', '--out', 'c/d/metrics.csv'],
    ['audit', 'export', 'abcd', '--out', 'e/f/run.tar'],
  ]) {
    expect((await espalier(...command)).exitCode).toBe(0);
    expect((await lstat(join(folder, command.at(-1)!))).isSymbolicLink()).toBe(false);
  }
});

test('where nothing can be written it is said at once, before the server works for it', async () => {
  server.stop(); // a command that asked the server would get an error
  expect((await espalier('export', 'abcd', '--out', '/dev/null/foo')).stderr).toMatch(/PATH_NOT_A_FOLDER/);
  for (const out of ['/proc/foo', '/proc/foo/bar'])
    expect((await espalier('export', 'abcd', '--out', out)).stderr).toBe(
      `error FILE_UNUSABLE: ${out}: no such file or directory\n`, // the message has none of the temporary names
    );
  for (const command of [
    ['export', 'abcd', '--out', '/proc/foo.gguf'],
    ['metrics', 'abcd', '--export', 'csv', '--out', '/proc/foo.csv'],
    ['audit', 'export', 'abcd', '--out', '/proc/foo.tar'],
  ])
    expect((await espalier(...command)).stderr).toMatch(/^error FILE_UNUSABLE: \/proc\/foo\.\w+: no such file or directory\n$/);
  expect((await espalier('up', '--detach', '--data-folder', '/proc/x')).stderr).toMatch(/DATA_FOLDER_UNUSABLE/);
});
