import { EspalierError, methodAccess, v1 } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { JobNotes } from './job-notes.js';
import { Ladders, missingRungs } from './ladders.js';
import { notesIn, withFolders } from './testing.js';

const newFolder = withFolders();
const by = { actor: 'user', roles: [] };
const state = (stateDigest: string) => ({ stateDigest });
const measured = (subject: string, stateDigest: string | null, more: object = {}) => ({
  subject,
  stateDigest,
  task: 'text',
  metric: 'perplexity',
  convention: 'windows of 64 tokens',
  dataDigest: 'text',
  ...more,
});
const runWith = (more: object): PruningRunState =>
  ({
    runId: 'run',
    status: 'completed',
    model: {},
    settings: { evaluationWindow: 64, evaluationTokens: 0 },
    data: { validationDigest: 'text', validationTokens: 1000 },
    teachers: [1, 2, 3].map((mark) => ({ mark, ownerRunId: 'run', state: state(`s${mark}`) })),
    current: state('last'),
    evaluations: [],
    ...more,
  }) as unknown as PruningRunState;

describe('the rungs of a ladder that are evaluated', () => {
  test('are the intact model, the teachers and the last state', () => {
    expect(missingRungs(runWith({}))).toEqual([
      { intact: true, teacherMark: undefined },
      ...[1, 2, 3].map((teacherMark) => ({ intact: false, teacherMark })),
      { intact: false, teacherMark: undefined },
    ]);
  });

  test('are not those that have a value by the same measure', () => {
    const evaluations = [
      measured('intact', null),
      measured('masked', 's1'),
      measured('masked', 's2', { dataDigest: 'another text' }),
      measured('export:abc', 's3'),
      measured('masked', 'last'),
    ];
    expect(missingRungs(runWith({ evaluations })).map(({ teacherMark }) => teacherMark)).toEqual([2, 3]);
  });

  test('are the last state only once, where it is a teacher', () => {
    expect(missingRungs(runWith({ current: state('s3') }))).toHaveLength(4);
    expect(missingRungs(runWith({ data: { validationDigest: null } }))).toEqual([]);
  });

  test('are not the teachers that a fork inherits, which the ladder of its parent has', () => {
    const inherited = [1, 2].map((mark) => ({ mark, ownerRunId: 'parent', state: state(`p${mark}`) }));
    const teachers = [...inherited, ...[3, 4, 5].map((mark) => ({ mark, ownerRunId: 'run', state: state(`s${mark}`) }))];
    const marks = (current: string) => missingRungs(runWith({ teachers, current: state(current) }), 2).map((rung) => rung.teacherMark);
    expect(marks('last')).toEqual([undefined, 3, 5, undefined]);
    expect(marks('p2')).toEqual([undefined, 3, 5, undefined]);
  });

  test('may be each n-th teacher; the last state is always among them', () => {
    const marks = (more: object, every: number) => missingRungs(runWith(more), every).map(({ teacherMark }) => teacherMark);
    expect(marks({}, 2)).toEqual([undefined, 1, 3, undefined]);
    expect(marks({}, 10)).toEqual([undefined, 1, undefined]);
    expect(marks({ current: state('s3') }, 10)).toEqual([undefined, 1, 3]);
  });
});

/** Evaluates one rung after another, each when `next` is called. */
function ladders(run: PruningRunState, outcome: () => Error | null = () => null, notes: JobNotes = notesIn(newFolder())) {
  const asked: (number | undefined)[] = [];
  const waiting: (() => void)[] = [];
  const services = {
    async *evaluateRun(request: v1.EvaluateRunRequest, _runId: string, _by: unknown, signal: AbortSignal) {
      asked.push(request.teacherMark);
      yield { waitingFor: 'run abcd trains' };
      await new Promise<void>((resolve, reject) => {
        waiting.push(resolve);
        signal.addEventListener('abort', () => reject(new EspalierError('CANCELLED', 'the client went away')));
      });
      const failure = outcome();
      if (failure !== null) throw failure;
      yield { doneShare: 1, doing: '' };
    },
  };
  const log = { info: () => undefined, warn: () => undefined };
  const made = new Ladders({ load: () => Promise.resolve(run) }, services, log, notes);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const next = async (): Promise<void> => {
    await turn();
    waiting.shift()!();
    await turn();
  };
  return { made, asked, next, turn };
}

describe('the evaluation of a ladder', () => {
  test('goes on without a client, tells how far it is, and is there once', async () => {
    const { made, asked, next, turn } = ladders(runWith({}));
    expect(made.progressOf('run')).toBeUndefined();
    expect(await made.start('run', by)).toMatchObject({ state: 'running', models: 5, evaluated: 0, etaSeconds: undefined });
    await turn();
    expect(made.progressOf('run')).toMatchObject({ waitingFor: 'run abcd trains' });
    await next();
    expect(await made.start('run', by)).toMatchObject({ state: 'running', evaluated: 1, etaSeconds: expect.any(Number) });
    for (let rung = 1; rung < 5; rung += 1) await next();
    expect(made.progressOf('run')).toMatchObject({ state: 'done', evaluated: 5, etaSeconds: 0, waitingFor: '' });
    expect(asked).toEqual([undefined, 1, 2, 3, undefined]);
  });

  test('that is cancelled stays so, and a new one can be started', async () => {
    const { made, next, turn } = ladders(runWith({}));
    await made.start('run', by);
    await next();
    expect(made.cancel('run')).toMatchObject({ state: 'cancelled', evaluated: 1 });
    await turn();
    expect(made.progressOf('run')).toMatchObject({ state: 'cancelled', failure: null });
    expect(await made.start('run', by)).toMatchObject({ state: 'running', evaluated: 0 });
    made.onModuleDestroy();
    expect(made.progressOf('run')).toMatchObject({ state: 'cancelled' });
    expect(made.cancel('another')).toBeUndefined();
  });

  test('that was under way when the server was killed is told as lost by the next one, and can be started again', async () => {
    const folder = newFolder();
    const first = ladders(runWith({}), undefined, notesIn(folder));
    await first.made.start('run', by);
    await first.next();
    const second = ladders(runWith({}), undefined, notesIn(folder));
    expect(second.made.progressOf('run')).toMatchObject({ state: 'failed', models: 5, evaluated: 1, failure: { code: 'JOB_LOST' } });
    expect(await second.made.start('run', by)).toMatchObject({ state: 'running', evaluated: 0 });
    second.made.cancel('run');
    expect(ladders(runWith({}), undefined, notesIn(folder)).made.progressOf('run')).toBeUndefined();
  });

  test('says why it failed', async () => {
    const { made, next } = ladders(runWith({}), () => new EspalierError('ENGINE_LOST', 'the engine is gone'));
    await made.start('run', by);
    await next();
    expect(made.progressOf('run')).toMatchObject({ state: 'failed', evaluated: 0, failure: { code: 'ENGINE_LOST' } });
  });

  test('needs a validation text', async () => {
    const { made } = ladders(runWith({ data: { validationDigest: null } }));
    await expect(made.start('run', by)).rejects.toMatchObject({ code: 'FIELD_REQUIRED' });
  });
});

test("only its own caller and an admin may cancel a ladder, which may be another's than the run", async () => {
  expect(methodAccess('/espalier.v1.RunService/CancelLadder')).toMatchObject({ onOthers: v1.Role.ROLE_ADMIN });
  const evaluateRun = () => new Promise(() => undefined);
  const runs = { load: () => Promise.resolve(runWith({ runId: 'run' })) };
  const log = { info: () => undefined, warn: () => undefined };
  const ladders = new Ladders(runs, { evaluateRun } as never, log, notesIn(newFolder()));
  await ladders.start('run', { ...by, actor: 'token:ann' });
  expect([ladders.startedBy('run'), ladders.startedBy('another')]).toEqual(['token:ann', undefined]);
});
