// Evaluates a run's model, or another subject, by tasks. Questions are encoded while the engine scores the ones before them.
import type { ArtifactStore } from '#artifact-store';
import { openTextEncoder, type TextEncoder } from '#model-files';
import { engineV1, EspalierError } from '#protocol';
import {
  encodedCharacters,
  encodeQuestions,
  heldCharacters,
  measure,
  TaskError,
  type Answer,
  type Measured,
  type Question,
  type TaskQuestions,
} from '#tasks';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { ScoredBatch, TokenBatch } from '../engines/wire/score-call.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/pruning-run.decisions.js';
import { numericsOf, withSubject, type EngineModel } from './subjects.js';
import { generatedAnswers, isGenerated } from './task-texts.js';
import { identityOf, knownFacts, meanRecords, recordOf, samplesOf, type TaskEvaluationRequest } from './task-records.js';

export type TaskProgress = (doneShare: number, doing: string) => void;

/** The number of characters in a block of questions: enough tokens for a few passes of the engine, and few enough that progress is seen. */
const BLOCK_CHARACTERS = 1 << 18;
/** The most characters to encode for a block, so that its tokens fit in memory even where questions have hundreds of choices. */
const ENCODED_CHARACTERS = 1 << 22;

/** Writing one text takes about as long as reading this number of characters. */
const WRITTEN_CHARACTERS = 2_000;

const DTYPES = { f32: engineV1.ComputeDtype.COMPUTE_DTYPE_F32, bf16: engineV1.ComputeDtype.COMPUTE_DTYPE_BF16 };

/**
 * Evaluates one task after another. A task that the run's record has for the same subject by the same measures is not evaluated again, so
 * an interrupted evaluation goes on where it was.
 * @param record records the result of a task before the next one begins; it is called for known results, too
 */
export async function evaluateTasks(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open' | 'get' | 'pathOf'>,
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
    const known = knownFacts(request, encoder.tokenizerDigest);
    for (const facts of known.values()) await record(facts, null);
    const tasks = request.tasks.filter((task) => !known.has(task));
    const measured = new Map<string, readonly Measured[]>([...known].map(([{ task }, facts]) => [task.task, facts]));
    const all = { bench, request: { ...request, tasks }, encoder, record, measured, onProgress, signal };
    if (tasks.length > 0) await withSubject(bench, artifacts, run, subject, (model) => evaluateAll(all, model));
    const facts = request.means.flatMap((mean) => meanRecords(mean, measured, request, encoder.tokenizerDigest));
    if (facts.length > 0) await record(facts, null);
  } finally {
    await encoder.close();
  }
}

interface Evaluating {
  bench: EngineWorkbench;
  request: TaskEvaluationRequest;
  encoder: TextEncoder;
  record: (facts: RecordEvaluation[], samples: Buffer | null) => Promise<void>;
  /** The results by the names of tasks. Each task that is done is added. */
  measured: Map<string, readonly Measured[]>;
  onProgress: TaskProgress;
  signal: AbortSignal;
}

/** Computes the share of all questions that is done. */
class Share {
  private done = 0;
  private readonly total: number;

  constructor(
    tasks: readonly TaskQuestions[],
    private readonly onProgress: TaskProgress,
  ) {
    this.total = tasks.reduce((sum, { questions }) => sum + weightOfAll(questions), 0);
  }

  add(weight: number): void {
    this.done += weight;
  }

  /** @param under the weight that is done of the questions under way */
  report({ task, questions }: TaskQuestions, answered: number, under = 0): void {
    this.onProgress((this.done + under) / this.total, `${task.task}, ${answered} of ${questions.length}`);
  }
}

type Counts = Record<string, number>;

/** Evaluates all tasks. Tasks that ask for texts come last, because the engine scores all the others in one call. */
async function evaluateAll(evaluating: Evaluating, model: EngineModel): Promise<void> {
  const { bench, request, encoder, record, measured, onProgress, signal } = evaluating;
  const share = new Share(request.tasks, onProgress);
  const finish = async (task: TaskQuestions, answers: Answer[], counts: Counts): Promise<void> => {
    const measures = await measure(task.task, task.questions, answers);
    measured.set(task.task.task, measures);
    const identity = identityOf(task, request, encoder.tokenizerDigest);
    const samples = samplesOf(task, answers);
    const numerics = numericsOf(bench, request.run, request.subject);
    await record(
      measures.map((one) => ({ ...recordOf(request.subject, { ...identity, ...one }, counts, samples), ...numerics })),
      samples,
    );
  };
  const scored = request.tasks.filter((task) => !isGenerated(task));
  if (scored.length > 0) await scoreAll(scored, evaluating, model, share, finish);
  const computeDtype = DTYPES[request.dtype];
  for (const task of request.tasks.filter(isGenerated)) {
    share.report(task, 0);
    const onDone = (done: number): void => share.report(task, done, weightOfAll(task.questions.slice(0, done)));
    const { answers, counts } = await generatedAnswers(bench, request.run, model, computeDtype, task, onDone, signal);
    share.add(weightOfAll(task.questions));
    await finish(task, answers, counts);
  }
}

async function scoreAll(
  tasks: TaskQuestions[],
  { bench, request, encoder, signal }: Evaluating,
  model: EngineModel,
  share: Share,
  finish: (task: TaskQuestions, answers: Answer[], counts: Counts) => Promise<void>,
): Promise<void> {
  const blocks: Block[] = [];
  const batches = async function* (): AsyncGenerator<TokenBatch> {
    for (const task of tasks)
      for (const questions of blocksOf(task.questions)) {
        signal.throwIfAborted();
        const { batch, block } = await encoded(questions, encoder, request.run.model.maxPositions);
        if (batch.lengths.length === 0) throw new TaskError('TASK_DATA_INVALID', `${task.task.task}: its continuations are empty`);
        blocks.push(block);
        yield batch;
      }
  };
  let task = tasks[0]!;
  let answered = 0;
  const report = (part: number): void => share.report(task, answered, part * (blocks[0]?.weight ?? 0));
  const scored = bench.engine.client.score({ ...model, computeDtype: DTYPES[request.dtype] }, batches(), report, signal);
  try {
    for (task of tasks) {
      const answers: Answer[] = [];
      const counts = { cut: 0, sequences: 0, tokens: 0 };
      answered = 0;
      while (answers.length < task.questions.length) {
        report(0);
        const result = await scored.next();
        const block = blocks.shift();
        if (result.done === true || block === undefined) throw new EspalierError('ENGINE_FAILED', 'the engine ended the scoring early');
        for (const answer of answersOf(block, result.value)) answers.push(answer);
        for (const name of ['cut', 'sequences', 'tokens'] as const) counts[name] += block[name];
        share.add(block.weight);
        answered = answers.length;
      }
      await finish(task, answers, counts);
    }
    await scored.next(); // waits until the engine has released its scorer
  } finally {
    await scored.return(undefined);
  }
}

/** About the number of characters that the model reads for a question. */
const weightOf = ({ asks }: Question): number => heldCharacters(asks) + (asks.kind === 'text' ? WRITTEN_CHARACTERS : 0);

const weightOfAll = (questions: readonly Question[]): number => questions.reduce((sum, one) => sum + weightOf(one), 0);

function* blocksOf(questions: readonly Question[]): Generator<Question[]> {
  let block: Question[] = [];
  let characters = 0;
  let encoded = 0;
  for (const question of questions) {
    block.push(question);
    characters += weightOf(question);
    encoded += encodedCharacters(question.asks);
    if (characters < BLOCK_CHARACTERS && encoded < ENCODED_CHARACTERS) continue;
    yield block;
    block = [];
    characters = 0;
    encoded = 0;
  }
  if (block.length > 0) yield block;
}

/** A block that is being scored. It tells which sequences of the batch belong to which question. */
interface Block {
  weight: number;
  /** The places of the sequences, for each question and choice; -1 where there is nothing to score. */
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
    return questions[index]?.asks.kind === 'whole' ? [own.flat()] : own;
  });
  const all = new Uint32Array(tokens);
  let first = 0;
  for (const part of parts) {
    all.set(part, first);
    first += part.length;
  }
  const weight = weightOfAll(questions);
  return { batch: { tokens: all, lengths, scored }, block: { weight, places, cut, sequences: lengths.length, tokens } };
}

function answersOf({ places }: Block, { logLikelihoods, greedy }: ScoredBatch): Answer[] {
  return places.map((choices) => ({
    logLikelihoods: choices.map((own) => own.reduce((sum, place) => sum + (logLikelihoods[place] ?? NaN), 0)),
    greedy: choices.map((own) => own.every((place) => greedy[place] === true)),
  }));
}
