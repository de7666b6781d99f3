// Tests du, gc, delete and verify --all against a server of the public protocol.
import { EspalierError, v1 } from '#protocol';
import { runCli, type CliResult } from '../../testing/run-cli.js';
import { refusal, testRun, TestServer, type Answers } from '../../testing/test-server.js';

let server: TestServer | undefined;
afterEach(() => server?.stop());
async function espalier(answers: Answers, ...args: string[]): Promise<CliResult> {
  server?.stop();
  server = await TestServer.start(answers);
  return runCli(args, { env: { ESPALIER_SERVER: server.address, COLUMNS: '200' } });
}

test('delete asks the user, or is told --yes; without a user to ask it does nothing', async () => {
  const deleted: v1.DeleteRunRequest[] = [];
  const answers: Answers = {
    getRun: () => ({ run: testRun() }),
    deleteRun: (request) => {
      deleted.push(request);
      return { run: testRun(), discardedArtifacts: 12n, freedBytes: 3n << 20n };
    },
  };
  const asked = await espalier(answers, 'delete', 'abcdefghij23');
  expect(asked).toMatchObject({ exitCode: 2, stdout: '' });
  expect(asked.stderr).toMatch(/CONFIRMATION_NEEDED: delete run abcdefghij23 \(a name\), training at step 40\?/);
  expect(deleted).toEqual([]);
  const done = await espalier(answers, 'delete', 'abcdefghij23', '--yes', '--reason', 'old');
  expect(done).toMatchObject({ exitCode: 0, stderr: '' });
  expect(done.stdout).toMatch(/abcdefghij23 is deleted: 3\.00 MiB freed in 12 artifacts; its history stays/);
  expect(deleted).toEqual([{ runId: 'abcdefghij23', reason: 'old' }]);
});

test('delete takes the whole id, and says which run was meant before it asks', async () => {
  for (const more of [[], ['--yes']]) {
    const result = await espalier({ getRun: () => ({ run: testRun({ name: 'old one' }) }) }, 'delete', 'abcd', ...more);
    expect(result).toMatchObject({ exitCode: 2, stdout: '' });
    expect(result.stderr).toMatch(/whole id: abcdefghij23 \(old one\) is meant\n +espalier delete abcdefghij23\n$/);
  }
});

test('delete takes several runs, by their ids or by a filter, with one question; one that stays keeps no other', async () => {
  const deleted: string[] = [];
  const listed: v1.ListRunsRequest[] = [];
  const runs = ['aaaaaaaaaaa2', 'bbbbbbbbbbb2', 'ccccccccccc2'].map((runId) => testRun({ runId, name: '' }));
  const answers: Answers = {
    getRun: ({ runId }) => ({ run: testRun({ runId }) }),
    listRuns: (request) => {
      listed.push(request);
      return { runs: request.where.length > 0 ? [] : runs, nextPageToken: '', total: 3 };
    },
    deleteRun: ({ runId }) => {
      if (runId.startsWith('b')) throw new EspalierError('RUN_STILL_ACTIVE', 'run bbbbbbbbbbb2 is at work');
      deleted.push(runId);
      return { run: testRun({ runId }), discardedArtifacts: 1n, freedBytes: 1n << 20n };
    },
  };
  const asked = await espalier(answers, 'delete', '--status', 'failed', '--tag', 'draft');
  expect(asked).toMatchObject({ exitCode: 2, stdout: '' });
  expect(asked.stderr).toMatch(
    /delete 3 runs: aaaaaaaaaaa2, training; bbbbbbbbbbb2, training; ccccccccccc2, training\? This can't be undone/,
  );
  expect(listed[0]).toMatchObject({ statuses: [v1.RunStatus.RUN_STATUS_FAILED], tags: ['draft'], includeDeleted: false });
  const done = await espalier(answers, 'delete', '--status', 'failed', '--yes');
  expect(done).toMatchObject({ exitCode: 1, stderr: '' });
  expect(done.stdout).toMatch(/^aaaaaaaaaaa2 is deleted.*\nbbbbbbbbbbb2 stays: run bbbbbbbbbbb2 is at work\nccccccccccc2 is deleted/);
  expect(done.stdout).toMatch(/deleted 2 runs, 2\.00 MiB freed; 1 run stayed; their histories stay\n$/);
  expect(deleted).toEqual(['aaaaaaaaaaa2', 'ccccccccccc2']);
  const named = await espalier(answers, 'delete', 'ddddddddddd2', 'eeeeeeeeeee2', 'ddddddddddd2', '--yes', '--json');
  expect(
    named.stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { run_id: string }).run_id),
  ).toEqual(['ddddddddddd2', 'eeeeeeeeeee2']);
  expect(await espalier(answers, 'delete', '--where', 'perplexity>20')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/no runs match/),
  });
  expect((await espalier(answers, 'delete')).exitCode).toBe(2);
  expect((await espalier(answers, 'delete', 'ddddddddddd2', '--status', 'failed')).exitCode).toBe(2);
});

test('a rewind of a run that has ended is asked about, since its end is lost by it', async () => {
  const resumed: v1.ResumeRunRequest[] = [];
  const of = (status: v1.RunStatus): Answers => ({
    getRun: () => ({ run: testRun({ status, stateDigest: 'ab'.repeat(32), teacherCount: 20 }) }),
    resumeRun: (request) => {
      if (request.from?.$case === 'teacherMark' && request.from.value > 20) throw refusal('TEACHER_NOT_FOUND', 'it has 20', 'teacher_mark');
      resumed.push(request);
      return { run: testRun() };
    },
  });
  const completed = of(v1.RunStatus.RUN_STATUS_COMPLETED);
  const asked = await espalier(completed, 'resume', 'abcd', '--from-teacher', '20');
  expect(asked).toMatchObject({ exitCode: 2, stdout: '' });
  expect(asked.stderr).toMatch(/rewind run abcdefghij23, completed at step 40\? [^]*espalier fork abcdefghij23 --from-teacher 20/);
  const lacking = await espalier(completed, 'resume', 'abcd', '--from-teacher', '21');
  expect(lacking.stderr).toContain('TEACHER_NOT_FOUND'); // without a question before it
  expect(resumed).toEqual([]);
  expect((await espalier(completed, 'resume', 'abcd', '--from-teacher', '20', '--yes')).exitCode).toBe(0);
  expect((await espalier(of(v1.RunStatus.RUN_STATUS_PAUSED), 'resume', 'abcd', '--from-teacher', '20')).exitCode).toBe(0);
  expect((await espalier(of(v1.RunStatus.RUN_STATUS_FAILED), 'resume', 'abcd')).exitCode).toBe(0);
  expect(resumed).toHaveLength(3);
});

test('runs by figures, and groups of them', async () => {
  const answers: Answers = {
    listRuns: ({ where }) => ({ runs: [testRun({ name: where.join(' and ') })], nextPageToken: '', total: 1 }),
    groupRuns: ({ by, where, statuses }) => ({
      total: 3,
      groups: [
        v1.RunGroup.fromPartial({
          values: by.map((name) => `a ${name}`),
          runs: 3,
          runsCompleted: 2,
          perplexity: { mean: 6, spread: 0.25, lowest: 5.75, highest: 6.25, n: 2 },
          sparsity: { mean: 0.5, lowest: 0.5, highest: 0.5, n: 2, spread: 0 },
          trainingSeconds: { mean: 90, lowest: 80, highest: 100, n: 2, spread: 1 },
          bestRunId: `${where.length} ${statuses.length}`,
        }),
      ],
    }),
  };
  const listed = await espalier(answers, 'runs', '--where', 'target_sparsity=0.5', '--where', 'perplexity<6');
  expect(listed.stdout).toContain('target_sparsity=0.5 and perplexity<6');
  const grouped = await espalier(answers, 'runs', '--group', 'recipe,seed', '--where', 'step>5', '--status', 'completed,failed');
  expect(grouped.stdout.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
    ['RECIPE', 'SEED', 'RUNS', 'COMPLETED', 'PERPLEXITY', 'LOWEST', 'BEST RUN', 'SPARSITY', 'TRAINING'],
    ['a recipe', 'a seed', '3', '2', '6.000 ± 0.250', '5.750', '1 2', '50.0% ± 0.0%', '1m30s'],
    [''],
  ]);
});

test('gc of a run needs to know what goes', async () => {
  const result = await espalier({}, 'gc', 'abcd', '--yes');
  expect(result).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/--keep-every N, --abandoned or --exports/) });
  expect((await espalier({}, 'gc', 'abcd', '--abandoned', '--min-age', '5')).exitCode).toBe(2);
});

const TAUGHT = { settings: v1.RunSettings.fromPartial({ recipe: v1.Recipe.RECIPE_NUTEPRUNE }) };

test('gc of a run says beforehand what its teachers can no longer teach: in the dry run, in the question, with --yes', async () => {
  const artifacts = [{ kind: 'state', digest: 'ab'.repeat(32), bytes: 1n << 20n, marks: [1, 2, 4] }];
  const answers: Answers = { discardArtifacts: () => ({ run: testRun(TAUGHT), artifacts, freedBytes: 1n << 20n }) };
  const note = /is rewound \(resume --from-teacher\) or forked without #1 #2 #4, other teachers teach their steps, [^]*other\sbits/;
  expect((await espalier(answers, 'gc', 'abcd', '--keep-every', '3', '--dry-run')).stdout).toMatch(note);
  expect((await espalier(answers, 'gc', 'abcd', '--keep-every', '3')).stderr).toMatch(note);
  expect((await espalier(answers, 'gc', 'abcd', '--keep-every', '3', '--yes')).stdout).toMatch(note);
  const untaught: Answers = {
    discardArtifacts: () => ({
      run: testRun({ settings: v1.RunSettings.fromPartial({ recipe: v1.Recipe.RECIPE_LM }) }),
      artifacts,
      freedBytes: 1n,
    }),
  };
  expect((await espalier(untaught, 'gc', 'abcd', '--keep-every', '3', '--dry-run')).stdout).not.toMatch(/other bits/);
});

test('a rewind and a fork say beforehand which teachers are gone, where these taught', async () => {
  const teacher = (mark: number): v1.Teacher =>
    v1.Teacher.fromPartial({ mark, step: BigInt(mark * 10), stateDigest: `${mark}`.repeat(64) });
  const phases = [{ kind: 'prune', firstStep: 0n, endStep: 100n }];
  const asked: string[] = [];
  const run = testRun({ ...TAUGHT, phases });
  const answers: Answers = {
    getRun: () => ({ run }),
    listTeachers: () => ({ teachers: [teacher(3), teacher(6), teacher(7)] }),
    resumeRun: () => {
      asked.push('resume');
      return { run };
    },
  };
  const rewind = await espalier(answers, 'resume', 'abcd', '--from-teacher', '6');
  expect(rewind.stderr).toMatch(/^warning: 4 teachers of the run, #1 #2 #4 #5, were thrown away: other teachers teach their steps, /);
  expect(rewind.stderr).toMatch(/ end in other bits\.\n$/);
  const short = await espalier(answers, 'resume', 'abcd', '--from-state', '3333');
  expect(short.stderr).toMatch(/^warning: 2 teachers of the run, #1 #2, were thrown away/);
  const whole = { ...answers, listTeachers: () => ({ teachers: [teacher(1), teacher(2), teacher(3)] }) };
  expect((await espalier(whole, 'resume', 'abcd', '--from-teacher', '3')).stderr).not.toMatch(/thrown away/);
  const pruned = { ...answers, getRun: () => ({ run: testRun({ ...TAUGHT, phases: [{ kind: 'prune', firstStep: 0n, endStep: 60n }] }) }) };
  expect((await espalier(pruned, 'resume', 'abcd', '--from-teacher', '6')).stderr).not.toMatch(/thrown away/);
  expect(asked).toHaveLength(4);
});

test('gc of a run is looked at first, then done when confirmed', async () => {
  const requests: v1.DiscardArtifactsRequest[] = [];
  const answers: Answers = {
    discardArtifacts: (request) => {
      requests.push(request);
      const artifacts = [{ kind: 'state', digest: 'ab'.repeat(32), bytes: 1n << 20n, marks: [3, 4] }];
      return { run: testRun(), artifacts, freedBytes: 1n << 20n };
    },
  };
  const dry = await espalier(answers, 'gc', 'abcd', '--keep-every', '5', '--dry-run');
  expect(dry.stdout).toMatch(/^state abababababab, teacher #3 #4, 1\.00 MiB\nwould throw away 1 artifact, of 2 teachers \(1\.00 MiB\)\n/);
  expect((await espalier(answers, 'gc', 'abcd', '--keep-every', '5')).exitCode).toBe(2);
  const done = await espalier(answers, 'gc', 'abcd', '--keep-every', '5', '--abandoned', '--yes');
  expect(done.stdout).toMatch(/^threw away 1 artifact, of 2 teachers \(1\.00 MiB\): 1\.00 MiB freed/);
  expect(requests.map(({ dryRun }) => dryRun)).toEqual([true, true, true, false]);
  expect(requests.at(-1)).toMatchObject({ runId: 'abcd', keepEvery: 5, abandoned: true, exports: false });
});

test('gc without a run sets aside what no run needs; with --now it asks, and removes it; options of a run are refused', async () => {
  const requests: v1.CollectGarbageRequest[] = [];
  const answers: Answers = {
    async *collectGarbage(request) {
      requests.push(request);
      const artifact = { kind: 'state', digest: 'ab'.repeat(32), bytes: 512n, marks: [] };
      const [freedBytes, setAsideBytes] = request.now ? [512n, 0n] : [0n, 512n];
      yield { doneShare: 0.5, artifact, artifacts: 1n, freedBytes, setAsideBytes };
      yield { doneShare: 1, artifact: undefined, artifacts: 1n, freedBytes, setAsideBytes };
    },
  };
  const said = async (...options: string[]): Promise<string> => (await espalier(answers, 'gc', ...options)).stdout.replaceAll(/\s+/g, ' ');
  const what = '512 B in 1 artifact that no run needs; what is younger than 1h00m stays (--min-age)';
  expect(await said()).toBe(`set aside ${what}; removed a week after they were set aside, or now with: espalier gc --now `);
  expect(await said('--dry-run')).toBe(`would set aside ${what} `);
  expect(await said('--now', '--dry-run')).toBe(`would free ${what} `);
  const asked = await espalier(answers, 'gc', '--now');
  expect(asked).toMatchObject({ exitCode: 2, stdout: '' });
  expect(asked.stderr).toMatch(/CONFIRMATION_NEEDED: remove 1 artifact \(512 B\) that no run needs for good\?/);
  expect(await said('--now', '--yes')).toBe(`freed ${what} `);
  expect(requests.map(({ dryRun, now }) => [dryRun, now])).toEqual([
    [false, false],
    [true, false],
    [true, true],
    [true, true],
    [false, true],
  ]);
  expect((await espalier(answers, 'gc', '--exports')).exitCode).toBe(2);
  expect((await espalier(answers, 'gc', 'abcd', '--abandoned', '--now')).exitCode).toBe(2);
});

test('du tells by run and by kind', async () => {
  const runs = [v1.RunDiskUsage.fromPartial({ runId: 'abcdefghij23', name: 'n', status: 6, statesBytes: 2048n, reclaimableBytes: 1024n })];
  const answers: Answers = {
    getDiskUsage: () =>
      v1.GetDiskUsageResponse.fromPartial({ runs, statesBytes: 2048n, unneededBytes: 10n, artifactsBytes: 2058n, eventStoreBytes: 7n }),
  };
  const { stdout } = await espalier(answers, 'du');
  expect(stdout).toMatch(/^abcdefghij23 +n +completed +2\.00 KiB +0 B +0 B +0 B +1\.00 KiB$/m);
  expect(stdout).toMatch(/^no run needs +10 B; set it aside with: espalier gc \(what is older than an hour\)$/m);
  expect(stdout).toMatch(/^event store +7 B$/m);
  expect(JSON.parse((await espalier(answers, 'du', '--json')).stdout)).toMatchObject({ runs: [{ status: 'completed' }], views_bytes: 0 });
});

test('verify --all: problems are the exit code, unknown files are none', async () => {
  const verdicts = (problems: string[]): Answers => ({
    async *verifyAll() {
      yield v1.VerifyAllResponse.fromPartial({ check: 'store', subject: 'the event store', ok: true, doneShare: 0.2 });
      yield v1.VerifyAllResponse.fromPartial({ check: 'unknown', subject: '/objects/x', ok: true, detail: 'a file', doneShare: 1 });
      for (const detail of problems)
        yield v1.VerifyAllResponse.fromPartial({ check: 'artifacts', subject: 'artifact ab', ok: false, detail, doneShare: 1 });
      const summary = { ok: problems.length === 0, events: 9n, runs: 2n, artifacts: 3n, unknown: ['/objects/x'], problems };
      yield v1.VerifyAllResponse.fromPartial({ check: 'summary', doneShare: 1, summary });
    },
  });
  const good = await espalier(verdicts([]), 'verify', '--all');
  expect(good.exitCode).toBe(0);
  expect(good.stdout).toMatch(/^unknown {2}\/objects\/x: a file$/m);
  expect(good.stdout).toMatch(/^the store is whole and true: 9 events, 2 runs, 3 artifacts/m);
  const bad = await espalier(verdicts(['gone']), 'verify', '--all');
  expect(bad.exitCode).toBe(1);
  expect(bad.stdout).toMatch(/^wrong {2}artifacts {2}artifact ab: gone$/m);
  expect(JSON.parse((await espalier(verdicts(['gone']), 'verify', '--all', '--json')).stdout)).toMatchObject({ ok: false, runs: 2 });
  expect((await espalier(verdicts([]), 'verify')).exitCode).toBe(2);
  expect((await espalier(verdicts([]), 'verify', 'abcd', '--all')).exitCode).toBe(2);
});
