// Tests how Slurm's commands are called and their answers read. In apps/orchestrator/test/slurm.long.test.ts a real Slurm answers.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JobFinder } from './job-host.js';
import { jobOf, jobScript, jobsIn, sbatchArguments, SlurmHost, type SlurmJob } from './slurm-host.js';

const JOB: SlurmJob = {
  mark: { fleetId: 'abc', folderId: 'folder', addressId: 'address' },
  ...{ specId: 'def', logs: '/a folder/50%' },
  wishes: { cpus: 8, cards: { type: 'a100', count: 2 }, memoryGb: 64 },
  settings: {
    partitions: ['gpu', 'low'],
    timeLimitMinutes: 60,
    warningSeconds: 90,
    options: ['--qos=low'],
  },
  commandOf: (engine) => ['/opt/engine', '--name', engine],
};

const FINDER: JobFinder = { mark: JOB.mark, specIdOf: () => JOB.specId };
const host = (): SlurmHost => new SlurmHost(FINDER, JOB.logs, () => JOB);

it('a job asks for what the fleet says, and bears its mark', () => {
  expect(sbatchArguments(JOB, 'slurm-1', '')).toEqual([
    ...['--parsable', '--no-requeue', '--job-name=espalier-slurm-1', '--comment=espalier:abc:def:slurm-1:folder:address'],
    ...['--output=/a folder/50%%/slurm-1-%j.log', '--nodes=1', '--ntasks=1', '--cpus-per-task=8', '--partition=gpu,low'],
    ...['--gres=gpu:a100:2', '--mem=64G', '--time=60', '--signal=B:TERM@90', '--qos=low'],
  ]);
});

it('a job of a caller with an account has that account in place of the one of the file', () => {
  const settings = { ...JOB.settings, options: ['--account=lab', '--qos=low'] };
  const words = sbatchArguments({ ...JOB, settings }, 'slurm-1', 'ann');
  expect(words.filter((word) => word.startsWith('--account') || word.startsWith('--qos'))).toEqual(['--account=ann', '--qos=low']);
  expect(words).toContain('--comment=espalier:abc:def:slurm-1:folder:address:ann');
  expect(jobOf('7|RUNNING|None|n1|espalier:abc:def:slurm-1:folder:address:ann', FINDER)).toMatchObject([
    { owner: 'fleet', account: 'ann' },
  ]);
});

it('the words of its command reach the program as they are', () => {
  const words = ['printf', '%s|', "it's", '$HOME `id`', '"a" \\ b', '*'];
  expect(execFileSync('sh', { input: jobScript(words), encoding: 'utf8' })).toBe('it\'s|$HOME `id`|"a" \\ b|*|');
});

describe('a line of squeue', () => {
  it.each([
    ['7|PENDING|Resources||espalier:abc:def:slurm-1', { stage: 'waiting', reason: 'Resources', isOutdated: false }],
    ['7|RUNNING|None|n1|espalier:abc:def:slurm-1', { stage: 'running', reason: '', node: 'n1' }],
    ['7|PENDING|Priority||espalier:abc:old:slurm-1', { stage: 'waiting', isOutdated: true }],
    ['7|COMPLETING|None|n1|espalier:abc:def:slurm-1', { stage: 'ending' }],
    ['7|NODE_FAIL|None|n1|espalier:abc:def:slurm-1', { stage: 'over', state: 'NODE_FAIL' }],
    ['7|TIMEOUT|TimeLimit|n1|espalier:abc:def:slurm-1', { stage: 'over', reason: 'TimeLimit' }],
    ['7|A_LATER_STATE|None||espalier:abc:def:slurm-1', { stage: 'over' }],
  ])('%s is a job of ours', (line, job) => {
    expect(jobOf(line, FINDER)).toEqual([expect.objectContaining({ id: '7', engine: 'slurm-1', ...job })]);
  });

  it.each([
    '',
    '7|RUNNING|None|n1|(null)',
    '7|RUNNING|None|n1|espalier:other:def:slurm-1:theirs:elsewhere',
    '7|RUNNING|None|n1|my espalier:abc:def:x',
    '7_3|RUNNING|None|n1|espalier:abc:def:x',
  ])('"%s" is not a job of the fleet', (line) => {
    expect(jobOf(line, FINDER)).toEqual([]);
  });
});

it.each([
  ['of a fleet of another name or at another place', 'espalier:other:def:slurm-1:folder:elsewhere'],
  ['whose engine joins at our address', 'espalier:other:def:slurm-1:theirs:address'],
  ['that does not say whose it is', 'espalier:other:def:slurm-1'],
])('a job %s is a stray', (_, comment) => {
  expect(jobOf(`7|RUNNING|None|n1|${comment}`, FINDER)).toEqual([expect.objectContaining({ id: '7', owner: 'stray' })]);
});

describe('the list of squeue', () => {
  const head = 'JOBID|STATE|REASON|NODELIST|COMMENT\n';
  const ours = '7|RUNNING|None|n1|espalier:abc:def:slurm-1\n';
  it.each<[string, string, string[]]>([
    ['has no job', head, []],
    ['has a job of ours', head + ours, ['7']],
    ["has another program's job with a comment of two lines", `${head}6|PENDING|None||two\nlines|\n${ours}`, ['7']],
  ])('%s', (_, out, ids) => {
    expect(jobsIn(out, FINDER).map(({ id }) => id)).toEqual(ids);
  });
  it.each([
    ['is empty', ''],
    ['is a message', 'slurm_load_jobs error: Unexpected message received\n'],
    ['has garbage in place of a job', `${head}\0\0\n`],
    ['has garbage after a job of ours', `${head}${ours}Segmentation fault\n`],
    ['is cut off', `${head}7|RUNN`],
  ])('that %s is no answer', (_, out) => {
    expect(() => jobsIn(out, FINDER)).toThrow(expect.objectContaining({ code: 'FLEET_UNREACHABLE' }) as Error);
  });
});

describe("Slurm's refusals", () => {
  const folder = mkdtempSync(join(tmpdir(), 'slurm-'));
  const path = process.env['PATH'];
  beforeEach(() => (process.env['PATH'] = `${folder}:/bin:/usr/bin`));
  afterEach(() => (process.env['PATH'] = path));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const program = (name: string, text: string): void => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, name), 0o755);
  };

  it.each([
    ["echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1", 'FLEET_JOB_REFUSED', 'Invalid account'],
    ["echo 'sbatch: error: Slurm job queue full, sleeping and retrying.' >&2; exec sleep 60", 'FLEET_JOB_REFUSED', 'queue full'],
    ['echo accepted', 'FLEET_UNREACHABLE', 'not a job'],
    ["echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1", 'FLEET_UNREACHABLE', 'Unable to contact'],
  ])('%s', async (text, code, message) => {
    program('sbatch', text);
    await expect(host().submit('x', '')).rejects.toMatchObject({ code, message: expect.stringContaining(message) as string });
  });

  it('the commands are missing', async () => {
    process.env['PATH'] = folder;
    await expect(host().look()).rejects.toMatchObject({
      code: 'FLEET_UNREACHABLE',
      message: expect.stringContaining('squeue is missing') as string,
    });
  });

  it('jobs get no secret of the environment, and the script comes on standard input', async () => {
    process.env['ESPALIER_TOKEN'] = 'espalier_secret';
    program('sbatch', `env > ${folder}/env; cat > ${folder}/script; echo '42;cluster'`);
    expect(await host().submit('slurm-1', '')).toBe('42');
    delete process.env['ESPALIER_TOKEN'];
    const said = execFileSync('cat', [`${folder}/env`, `${folder}/script`], { encoding: 'utf8' });
    expect(said).toContain("exec '/opt/engine' '--name' 'slurm-1'");
    expect(said).not.toContain('espalier_secret');
  });
});
