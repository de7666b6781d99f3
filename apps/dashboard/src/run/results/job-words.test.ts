import { create } from '@bufbuild/protobuf';
import { JobSchema, JobState } from '../../generated/espalier/v1/run_service_pb.js';
import { hasFailed, jobTitle, jobWords, proofWords, resultWords } from './job-words.js';

const job = (part: Parameters<typeof create<typeof JobSchema>>[1]) => create(JobSchema, part);
const plain = (text: string): string => text.replaceAll('\u2009', ' ');

test('a job says what it does, and on which model', () => {
  const title = (work: object): string => jobTitle(job({ request: { work } as never }));
  expect(title({ case: 'evaluate', value: { teacherMark: 20 } })).toBe('Perplexity of teacher #20');
  expect(title({ case: 'evaluate', value: { dataPath: '/a.txt', unstructured: { importance: 'wanda' } } })).toBe(
    'Perplexity of intact model, wanda on single weights on /a.txt',
  );
  expect(title({ case: 'evaluateTasks', value: { tasks: ['boolq', 'piqa'], intact: true } })).toBe('boolq, piqa on intact model');
  expect(title({ case: 'export', value: { format: 'gguf', dtype: 'f16' } })).toBe('Export of last state as gguf f16');
  expect(title({ case: 'ladder', value: { every: 10 } })).toBe('Perplexity of each tenth teacher');
  expect(title({ case: 'bench', value: { exportDigest: '0123456789' } })).toBe('Speed of export 01234567');
});

test('how far it is, what it waits for, and how it ended', () => {
  expect(plain(jobWords(job({ state: JobState.RUNNING, doneShare: 0.25, doing: 'boolq, 1 of 4' })))).toBe('25 %, boolq, 1 of 4');
  expect(jobWords(job({ state: JobState.RUNNING, waitingFor: 'run abcd trains' }))).toBe('waits for run abcd trains');
  expect(jobWords(job({ state: JobState.FAILED, failure: { message: 'no room' } }))).toBe('no room');
  expect(jobWords(job({ state: JobState.CANCELLED }))).toBe('cancelled');
});

test('the result in one line', () => {
  const evaluations = [
    { task: 'text', metric: 'perplexity', value: 5.123456 },
    { task: 'boolq', metric: 'acc', value: 0.5, stderr: 0.01 },
  ];
  expect(resultWords(job({ evaluations }))).toBe('perplexity 5.123, boolq acc 0.5000 ± 0.01000');
  const speedUp = { times: 1.5, low: 1.48, high: 1.52 };
  expect(resultWords(job({ speed: { compact: { prefillSpeedUp: speedUp, decodeSpeedUp: speedUp } } }))).toBe(
    'prefill 1.5x faster (1.48 to 1.52), decode 1.5x faster (1.48 to 1.52)',
  );
  expect(resultWords(job({}))).toBe('');
});

test('a check of the record that found problems is done, and is not shown as good', () => {
  const work = { case: 'verify', value: { replay: true } };
  expect(jobTitle(job({ request: { work } as never }))).toBe('Check of the record with replay');
  const good = job({ state: JobState.DONE, verified: { ok: true, replayedSteps: 40n } });
  expect([hasFailed(good), resultWords(good)]).toEqual([false, 'everything holds, 40 steps computed again']);
  const bad = job({
    state: JobState.DONE,
    verified: { ok: false, replayedSteps: 1n, problems: ['replay: step 3: it differs', 'chain: x'] },
  });
  expect([hasFailed(bad), resultWords(bad)]).toEqual([true, '2 problems found, 1 step computed again: replay: step 3: it differs']);
  expect([JobState.FAILED, JobState.CANCELLED].map((state) => hasFailed(job({ state })))).toEqual([true, false]);
});

test('the proof says how far each loader is from the student, or why it is not known', () => {
  expect(proofWords(undefined)).toEqual(['not compared with the masked student']);
  const loaders = [
    { loader: 'llama.cpp', outcome: 'agrees', negativeLogLikelihood: 2.0000012, message: '' },
    { loader: 'transformers', outcome: 'untried', message: 'it is not installed' },
  ];
  const { proof } = job({ export: { proof: { negativeLogLikelihood: 2, loaders } } }).export!;
  expect(proofWords(proof)).toEqual(['llama.cpp agrees, 1.2e\u22126 nats away', 'transformers untried: it is not installed']);
});
