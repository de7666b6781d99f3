// A run's model, or what else a subject names, judged by tasks: questions are encoded while the engine scores the ones before them.
import type { ArtifactStore } from '#artifact-store';
import { openTextEncoder, type TextEncoder } from '#model-files';
import { engineV1, EspalierError } from '#protocol';
import {
  encodeQuestions,
  meanOf,
  measure,
  TaskError,
  type Answer,
  type Measured,
  type MeanTask,
  type Question,
  type TaskQuestions,
} from '#tasks';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { ScoredBatch, TokenBatch } from '../engines/wire/scoring.js';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/run-change.js';
import { recordedSubject, withSubject, type Subject } from './subjects.js';

export type ComputeDtype = 'f32' | 'bf16';
export interface TaskEvaluationRequest {
  run: PruningRunState;
  subject: Subject;
  tasks: TaskQuestions[];
  means: MeanTask[];
  dtype: ComputeDtype;
}
export type TaskProgress = (doneShare: number, doing: string) => void;

/** Known of a task before it is scored; equal ones make values comparable. */
interface TaskIdentity {
  task: string;
  convention: string;
  dataDigest: string;
  digests: { prompt: string; data: string; tokenizer: string };
}

/** A block of questions: enough tokens for a few passes of the engine, few enough that progress is seen. */
const BLOCK_CHARACTERS = 1 << 18;

const DTYPES = { f32: engineV1.ComputeDtype.COMPUTE_DTYPE_F32, bf16: engineV1.ComputeDtype.COMPUTE_DTYPE_BF16 };

/** Evaluates one task after the other. @param record keeps what a task came to, before the next one begins */
export async function evaluateTasks(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open' | 'get'>,
  request: TaskEvaluationRequest,
  record: (facts: RecordEvaluation[], samples: Buffer | null) => Promise<void>,
  onProgress: TaskProgress,
  signal: AbortSignal,
): Promise<void> {
  const { run, subject } = request;
  const encoder = await openTextEncoder(run.model.path, run.model.vocabularySize, signal);
  try {
    const expected = run.data.tokenizerDigest;
    if (expected !== '' && encoder.tokenizerDigest !== expected)
      throw new EspalierError(
        'TOKENIZER_MISMATCH',
        `the tokenizer.json in ${run.model.path} has changed since run ${run.runId} was launched`,
      );
    const computeDtype = DTYPES[request.dtype];
    await withSubject(bench, artifacts, run, subject, (model) =>
      evaluateAll({ bench, request, encoder, record, onProgress, signal }, { ...model, computeDtype }),
    );
  } finally {
    await encoder.close();
  }
}

interface Evaluating {
  bench: EngineWorkbench;
  request: TaskEvaluationRequest;
  encoder: TextEncoder;
  record: (facts: RecordEvaluation[], samples: Buffer | null) => Promise<void>;
  onProgress: TaskProgress;
  signal: AbortSignal;
}

async function evaluateAll(
  { bench, request, encoder, record, onProgress, signal }: Evaluating,
  model: Pick<engineV1.ScoreRequest, 'sessionId' | 'modelPath' | 'intact' | 'computeDtype'>,
): Promise<void> {
  const { tasks, means, run } = request;
  const weights = tasks.map(({ questions }) => questions.reduce((sum, one) => sum + weightOf(one), 0));
  const total = weights.reduce((sum, one) => sum + one, 0);
  let done = 0;
  const blocks: Block[] = [];
  const batches = async function* (): AsyncGenerator<TokenBatch> {
    for (const task of tasks)
      for (const questions of blocksOf(task.questions)) {
        signal.throwIfAborted();
        const { batch, block } = await encoded(questions, encoder, run.model.maxPositions);
        if (batch.lengths.length === 0) throw new TaskError('TASK_DATA_INVALID', `${task.task.task}: its continuations are empty`);
        blocks.push(block);
        yield batch;
      }
  };
  const scored = bench.engine.client.score(model, batches(), (share) => tell(share), signal);
  const known = new Map<string, Measured[]>();
  let task = tasks[0]!;
  let answered = 0;
  const tell = (share: number): void => {
    const block = blocks[0];
    const now = done + (block === undefined ? 0 : share * block.weight);
    onProgress(now / total, `${task.task.task}, ${answered} of ${task.questions.length}`);
  };
  try {
    for (task of tasks) {
      const answers: Answer[] = [];
      const counts = { cut: 0, sequences: 0, tokens: 0 };
      answered = 0;
      while (answers.length < task.questions.length) {
        tell(0);
        const result = await scored.next();
        const block = blocks.shift();
        if (result.done === true || block === undefined) throw new EspalierError('ENGINE_FAILED', 'the engine ended the scoring early');
        answers.push(...answersOf(block, result.value));
        for (const name of ['cut', 'sequences', 'tokens'] as const) counts[name] += block[name];
        done += block.weight;
        answered = answers.length;
      }
      const measures = measure(task.task, task.questions, answers);
      known.set(task.task.task, measures);
      const identity = identityOf(task, request.dtype, encoder.tokenizerDigest);
      const samples = samplesOf(task, answers);
      await record(
        measures.map((one) => recordOf(request.subject, { ...identity, ...one }, counts, samples)),
        samples,
      );
    }
    await scored.next(); // the engine has let go of its scorer
  } finally {
    await scored.return(undefined);
  }
  const facts = means.flatMap((mean) => meanRecords(mean, known, request, encoder.tokenizerDigest));
  if (facts.length > 0) await record(facts, null);
}

/** About as many characters as the model reads for a question. */
function weightOf({ asks }: Question): number {
  if (asks.kind === 'whole') return asks.text.length;
  const contexts = new Set(asks.pairs.map(({ context }) => context));
  return [...contexts].reduce((sum, one) => sum + one.length, 0) + asks.pairs.reduce((sum, one) => sum + one.continuation.length, 0);
}

function* blocksOf(questions: readonly Question[]): Generator<Question[]> {
  let block: Question[] = [];
  let characters = 0;
  for (const question of questions) {
    block.push(question);
    characters += weightOf(question);
    if (characters < BLOCK_CHARACTERS) continue;
    yield block;
    block = [];
    characters = 0;
  }
  if (block.length > 0) yield block;
}

/** A block that is being scored: for each question which sequences of the batch are its own; -1: nothing to score. */
interface Block {
  weight: number;
  /** For each question and choice the places of its sequences. */
  places: number[][][];
  cut: number;
  sequences: number;
  tokens: number;
}

async function encoded(questions: Question[], encoder: TextEncoder, positions: number): Promise<{ batch: TokenBatch; block: Block }> {
  const lengths: number[] = [];
  const scored: number[] = [];
  const parts: Uint32Array[] = [];
  let tokens = 0;
  let cut = 0;
  const sequences = await encodeQuestions(questions, encoder, positions);
  const places = sequences.map((ofQuestion, index) => {
    const own = ofQuestion.map((sequence) => {
      if (sequence === null) return [];
      parts.push(sequence.ids);
      lengths.push(sequence.ids.length);
      scored.push(sequence.scored);
      tokens += sequence.ids.length;
      if (sequence.cut > 0) cut += 1;
      return [lengths.length - 1];
    });
    // The windows of a text are one answer.
    return questions[index]!.asks.kind === 'whole' ? [own.flat()] : own;
  });
  const all = new Uint32Array(tokens);
  let first = 0;
  for (const part of parts) {
    all.set(part, first);
    first += part.length;
  }
  const weight = questions.reduce((sum, one) => sum + weightOf(one), 0);
  return { batch: { tokens: all, lengths, scored }, block: { weight, places, cut, sequences: lengths.length, tokens } };
}

function answersOf({ places }: Block, { logLikelihoods, greedy }: ScoredBatch): Answer[] {
  return places.map((choices) => ({
    logLikelihoods: choices.map((own) => own.reduce((sum, place) => sum + logLikelihoods[place]!, 0)),
    greedy: choices.map((own) => own.every((place) => greedy[place]!)),
  }));
}

function identityOf(
  { task, rowCount, questions, promptDigest, dataDigest }: TaskQuestions,
  dtype: ComputeDtype,
  tokenizerDigest: string,
): TaskIdentity {
  const shots = task.kind === 'choices' ? (task.shots?.count ?? 0) : 0;
  const rows = questions.length < rowCount ? `the first ${questions.length} of ${rowCount} rows` : `all ${rowCount} rows`;
  return {
    task: task.task,
    convention: [`${shots} shots`, rows, ...(dtype === 'f32' ? [] : [dtype])].join(', '),
    dataDigest,
    digests: { prompt: promptDigest, data: dataDigest, tokenizer: tokenizerDigest },
  };
}

/** JSON Lines: one question each. */
function samplesOf({ task, questions }: TaskQuestions, answers: Answer[]): Buffer {
  const lines = questions.map(({ index, gold }, place) => {
    const { logLikelihoods, greedy } = answers[place]!;
    const sample = { task: task.task, index, gold, loglikelihoods: logLikelihoods };
    return JSON.stringify(task.kind === 'continuation' ? { ...sample, greedy: greedy[0] } : sample);
  });
  return Buffer.from(`${lines.join('\n')}\n`);
}

function recordOf(
  subject: Subject,
  { task, convention, dataDigest, digests, metric, value, stderr, n }: TaskIdentity & Measured,
  details: Record<string, number>,
  samples: Buffer | null,
): RecordEvaluation {
  return {
    kind: 'recordEvaluation',
    ...recordedSubject(subject),
    task,
    metric,
    value,
    stderr,
    n,
    convention,
    details,
    dataDigest,
    digests,
    ...(samples === null ? {} : { samplesDigest: sha256Hex(samples) }),
  };
}

function meanRecords(
  mean: MeanTask,
  known: ReadonlyMap<string, readonly Measured[]>,
  { subject, tasks, dtype }: TaskEvaluationRequest,
  tokenizer: string,
): RecordEvaluation[] {
  return mean.means.flatMap((one) => {
    const value = meanOf(one, known);
    if (value === null) return [];
    const members = tasks.filter(({ task }) => Object.hasOwn(one.of, task.task));
    const identities = members.map((member) => identityOf(member, dtype, tokenizer));
    const rows = [...new Set(identities.map(({ convention }) => convention))];
    const together = (part: 'prompt' | 'data'): string => sha256Hex(identities.map(({ digests }) => digests[part]).join('\n'));
    const data = together('data');
    const asked = rows.length === 1 ? rows[0]! : ['rows as in its tasks', ...(dtype === 'f32' ? [] : [dtype])].join(', ');
    const convention = `${one.convention}; ${asked}`;
    const digests = { prompt: together('prompt'), data, tokenizer };
    return [recordOf(subject, { task: mean.task, convention, dataDigest: data, digests, metric: 'mean', ...value }, {}, null)];
  });
}
