import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { encodeFacts } from '../pruning-run/record/stored-event.js';
import { AT, fact, launched, sparsities, stateAt, Story } from '../pruning-run/testing.js';
import { notificationsOf } from './notifications.js';

const RUN = 'aaaabbbbcccc';
const done = (hardSparsity: number, more: object = {}): NewFact =>
  fact('RunCompleted', {
    step: 100,
    stateDigest: 'd',
    ...sparsities(hardSparsity),
    targetSparsity: 0.5,
    trainingSeconds: 12,
    evaluationError: null,
    ...more,
  });
const failed = (code: string): NewFact => fact('RunFailed', { step: 20, code, message: 'why', field: '' });

/** The notifications that follow from the last of the facts. */
function told(...facts: NewFact[]) {
  const event = encodeFacts(facts, '', () => '').events.at(-1)!;
  return notificationsOf(event, 'event-7', RUN, new Story(...facts).state);
}
const given = new Story(launched({ targetSparsity: 0.5 }, RUN)).start().train(stateAt(10, 0.5)).facts;
const evaluated = (subject: 'masked' | 'intact', value: number): NewFact => {
  const { state } = new Story(...given);
  return fact('EvaluationRecorded', {
    subject,
    step: 10,
    stateDigest: subject === 'masked' ? state.current!.stateDigest : null,
    teacherMark: null,
    task: 'text',
    metric: 'perplexity',
    value,
    stderr: null,
    n: 10,
    convention: `windows of ${state.settings.evaluationWindow} tokens`,
    details: {},
    dataDigest: state.data.validationDigest!,
  });
};

it('given a trained run, when it completes on its target, then it is done, with its figures', () => {
  expect(told(...given, evaluated('intact', 10), evaluated('masked', 12), done(0.5, { targetSparsity: 0.5 }))).toEqual([
    {
      id: 'event-7.run_done',
      time: AT,
      event: 'run_done',
      run: { id: RUN, name: 'tiny' },
      figures: {
        step: 100,
        hard_sparsity: 0.5,
        target_sparsity: 0.5,
        training_seconds: 12,
        perplexity: 12,
        perplexity_of_intact_model: 10,
      },
    },
  ]);
});

it.each([0.4, 0.6])('given a target of 0.5, when it completes at %d, then it is done, and the target is missed', (sparsity) => {
  const both = told(...given, done(sparsity));
  expect(both.map(({ event }) => event)).toEqual(['run_done', 'target_missed']);
  expect(both.map(({ id }) => id)).toEqual(['event-7.run_done', 'event-7.target_missed']);
  expect(both[1]!.figures).toMatchObject({ hard_sparsity: sparsity, target_sparsity: 0.5, perplexity: null });
});

it.each([
  ['OUT_OF_MEMORY', ['run_failed']],
  ['STEPS_SKIPPED', ['run_failed', 'run_diverged']],
  ['TRAINING_DIVERGED', ['run_failed', 'run_diverged']],
])('given a run, when it fails with %s, then %j is told', (code, events) => {
  const all = told(...given, failed(code));
  expect(all.map(({ event }) => event)).toEqual(events);
  for (const one of all) expect(one).toMatchObject({ run: { id: RUN, failure: { code, message: 'why' } }, figures: { step: 20 } });
});

it('given a record that can not be read, when the run ends, then it is told without its name', () => {
  const event = encodeFacts([done(0.5, { targetSparsity: 0.7 })], '', () => '').events[0]!;
  const all = notificationsOf(event, 'e', RUN, null);
  expect(all.map((one) => [one.event, one.run])).toEqual([
    ['run_done', { id: RUN, name: null }],
    ['target_missed', { id: RUN, name: null }],
  ]);
});

it('given a run, when anything else happens, then nothing is told', () => {
  expect(told(...given)).toEqual([]);
});
