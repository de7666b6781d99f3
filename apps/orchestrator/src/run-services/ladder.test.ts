import { EspalierError, v1 } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { evaluateLadder, missingRungs } from './ladder.js';
import type { Progress } from './work.js';

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

/** The services of a run in which an evaluation is recorded when it ends. */
function servicesOf(run: PruningRunState, failure: Error | null = null) {
  const asked: (number | 'intact' | 'last')[] = [];
  const record = (subject: 'intact' | 'masked', digest: string | null): void =>
    void run.evaluations.push(measured(subject, digest) as never);
  const services = {
    preparedRun: () => Promise.resolve(run),
    async *evaluateRun({ intact, teacherMark }: v1.EvaluateRunRequest) {
      asked.push(intact ? 'intact' : (teacherMark ?? 'last'));
      yield { waitingFor: 'run abcd trains' };
      if (failure !== null) throw failure;
      yield { doneShare: 0.5, doing: '' };
      record(intact ? 'intact' : 'masked', intact ? null : teacherMark === undefined ? 'last' : `s${teacherMark}`);
      yield { result: {} as never };
    },
  };
  return { services, asked, record };
}

const all = async (news: AsyncIterable<Progress<null>>): Promise<Progress<null>[]> => {
  const heard: Progress<null>[] = [];
  for await (const one of news) heard.push(one);
  return heard;
};
const signal = new AbortController().signal;

describe('the evaluation of a ladder', () => {
  test('takes one model after another, and tells how far it is', async () => {
    const { services, asked } = servicesOf(runWith({ teachers: [] }));
    expect(await all(evaluateLadder(services, { every: 0 }, 'run', by, signal))).toEqual([
      { doneShare: 0, doing: '0 of 2 models evaluated' },
      { waitingFor: 'run abcd trains' },
      { doneShare: 0.25, doing: '0 of 2 models evaluated' },
      { doneShare: 0.5, doing: '1 of 2 models evaluated' },
      { waitingFor: 'run abcd trains' },
      { doneShare: 0.75, doing: '1 of 2 models evaluated' },
      { result: null },
    ]);
    expect(asked).toEqual(['intact', 'last']);
  });

  test('leaves out a model that another caller has evaluated meanwhile', async () => {
    const { services, asked, record } = servicesOf(runWith({}));
    const news = evaluateLadder(services, { every: 1 }, 'run', by, signal);
    await news.next();
    record('masked', 's2');
    await all(news);
    expect(asked).toEqual(['intact', 1, 3, 'last']);
    expect(await all(evaluateLadder(services, { every: 1 }, 'run', by, signal))).toEqual([{ result: null }]);
  });

  test('fails with the error of an evaluation', async () => {
    const { services } = servicesOf(runWith({}), new EspalierError('ENGINE_LOST', 'the engine is gone'));
    await expect(all(evaluateLadder(services, { every: 1 }, 'run', by, signal))).rejects.toMatchObject({ code: 'ENGINE_LOST' });
  });

  test('needs a validation text', async () => {
    const { services } = servicesOf(runWith({ data: { validationDigest: null } }));
    await expect(all(evaluateLadder(services, { every: 1 }, 'run', by, signal))).rejects.toMatchObject({ code: 'FIELD_REQUIRED' });
  });
});
