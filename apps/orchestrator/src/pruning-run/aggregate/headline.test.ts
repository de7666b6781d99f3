import { comparableOf, headlineOf, otherMeasuresOf } from './headline.js';
import { perplexityOver } from '../record/measures.js';
import type { PruningRunEventData, StateFact } from '../record/pruning-run.events.js';
import { data, fact, launched, masked, stateAt, Story } from '../testing.js';

type Evaluation = PruningRunEventData<'EvaluationRecorded'>;

function evaluation(state: StateFact | null, perplexity: number, more: Partial<Evaluation> = {}): Evaluation {
  return {
    subject: state === null ? 'intact' : 'masked',
    step: state?.step ?? 0,
    stateDigest: state?.stateDigest ?? null,
    teacherMark: null,
    ...perplexityOver(256),
    value: perplexity,
    stderr: null,
    n: 100,
    details: { negativeLogLikelihood: Math.log(perplexity) },
    dataDigest: data.validationDigest!,
    ...more,
  };
}

/** A run at step 20, with a teacher at step 10. */
const teacher = stateAt(10, 0.011);
const last = stateAt(20, 0.015);
const trained = (): Story => new Story(launched({ targetSparsity: 0.05 })).start().train(teacher, last);
const evaluated = (story: Story, ...evaluations: Evaluation[]): Story => {
  for (const one of evaluations) story.when({ kind: 'recordEvaluation', ...one });
  return story;
};
const headline = (story: Story): number | undefined => headlineOf(story.state)?.value;

describe("a run's headline", () => {
  it('is the last state on its own validation text, over its own windows, whatever else is evaluated after it', () => {
    const story = evaluated(
      trained(),
      evaluation(last, 7),
      evaluation(last, 1, perplexityOver(8)),
      evaluation(last, 2, { dataDigest: 'ab'.repeat(32), dataPath: '/easy.jsonl' }),
      evaluation(teacher, 3, { teacherMark: 1 }),
      evaluation(null, 4),
      evaluation(last, 5, { subject: `export:${'cd'.repeat(32)}` }),
    );
    expect(story.state.evaluations).toHaveLength(6);
    expect(headline(story)).toBe(7);
  });

  it('is none while only other things were evaluated, or once the run has gone on', () => {
    expect(headline(trained())).toBeUndefined();
    expect(headline(evaluated(trained(), evaluation(teacher, 3, { teacherMark: 1 })))).toBeUndefined();
    const story = evaluated(trained(), evaluation(last, 7));
    story.when({ kind: 'recordEvaluation', ...evaluation(null, 4) });
    story.train(stateAt(30, 0.02));
    expect(headline(story)).toBeUndefined();
  });

  it('is not that of a branch that was left; a teacher that the run went back to is its last state', () => {
    const story = evaluated(trained(), evaluation(teacher, 3, { teacherMark: 1 }), evaluation(last, 7));
    story.when({ kind: 'requestPause' });
    story.when({ kind: 'confirmPause', by: 'request' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
    expect(headline(story)).toBe(3);
    expect(story.state.evaluations.map(({ abandoned }) => abandoned)).toEqual([false, true]);
    story.start(2).train(stateAt(20, 0.016, ' after'));
    expect(headline(story)).toBeUndefined();
  });

  it('marks the exports of a branch that was left', () => {
    const exported = { exportDigest: 'ef'.repeat(32), form: 'masked' as const, dtype: 'bf16', parameterCount: 1, bytes: 1, files: [] };
    const story = trained();
    for (const { step, stateDigest } of [teacher, last])
      story.when({ kind: 'recordExport', ...exported, step, stateDigest, teacherMark: null, made: masked });
    story.facts.push(
      fact('RunRewound', {
        toStep: 10,
        state: teacher,
        teacherMark: 1,
        abandonedFromRevision: 6,
        acceptOtherNumerics: false,
        targetReachedStep: null,
      }),
    );
    expect(story.state.exports.map(({ abandoned }) => abandoned)).toEqual([false, true]);
  });

  it('is none for a run without validation text', () => {
    const start = launched({ targetSparsity: 0.05 });
    Object.assign(start.data, { data: { ...data, validationPath: null, validationDigest: null } });
    const story = new Story(start).start().train(last);
    expect(headline(evaluated(story, evaluation(last, 2, { dataDigest: 'ab'.repeat(32) })))).toBeUndefined();
  });
});

it('runs are compared by what was measured alike: an evaluation of other text or windows changes nothing', () => {
  const digest = `export:${'cd'.repeat(32)}` as const;
  const story = evaluated(trained(), evaluation(null, 4), evaluation(last, 7), evaluation(last, 8, { subject: digest }));
  const before = comparableOf(story.state);
  expect([before.intact?.value, before.masked?.value, before.exported?.value]).toEqual([4, 7, 8]);
  evaluated(
    story,
    evaluation(null, 1, perplexityOver(8)),
    evaluation(last, 1, { dataDigest: 'ab'.repeat(32) }),
    evaluation(last, 1, { subject: digest, ...perplexityOver(8) }),
    evaluation(teacher, 1, { subject: `export:${'ee'.repeat(32)}` }),
  );
  expect(comparableOf(story.state)).toEqual(before);
});

describe('an evaluation by another metric', () => {
  const boolq = { task: 'boolq', metric: 'acc', convention: '0-shot', dataDigest: 'b0'.repeat(32), stderr: 0.009, n: 3270, details: {} };

  it('is recorded beside the perplexity, once a state, and changes no headline', () => {
    const story = evaluated(trained(), evaluation(last, 7), evaluation(last, 0.61, boolq), evaluation(last, 0.61, boolq));
    evaluated(story, evaluation(last, 0.64, { ...boolq, metric: 'acc_norm' }), evaluation(last, 0.59, { ...boolq, convention: '5-shot' }));
    expect(headline(story)).toBe(7);
    expect(story.state.evaluations.map(({ metric, convention, value }) => [metric, convention, value])).toEqual([
      ['perplexity', 'windows of 256 tokens', 7],
      ['acc', '0-shot', 0.61],
      ['acc_norm', '0-shot', 0.64],
      ['acc', '5-shot', 0.59],
    ]);
  });
  it('is compared where it is of the last state', () => {
    const story = evaluated(trained(), evaluation(last, 7), evaluation(teacher, 0.7, boolq), evaluation(last, 0.61, boolq));
    expect(otherMeasuresOf(story.state).map(({ task, metric, value }) => [task, metric, value])).toEqual([['boolq', 'acc', 0.61]]);
  });
});
