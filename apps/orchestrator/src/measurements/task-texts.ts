// Lets the engine answer questions with texts, which it writes greedily, several at a time.
import type { engineV1 } from '#protocol';
import type { Answer, GenerationTask, TaskQuestions } from '#tasks';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { EngineModel, Measurable } from './subjects.js';
import { textTokens } from './task-records.js';
import { wholeTexts } from './texts.js';

/** The number of prompts in a call: few enough for one message, and enough that the engine always has several to decode together. */
const PROMPTS_TOGETHER = 128;

export const isGenerated = (questions: TaskQuestions): questions is TaskQuestions<GenerationTask> => questions.task.kind === 'generation';

/**
 * Writes the answers. A prompt that leaves no room for its text loses its beginning. @param onDone called with the number of texts that are
 * done
 */
export async function generatedAnswers(
  bench: EngineWorkbench,
  run: Measurable,
  model: EngineModel,
  computeDtype: engineV1.ComputeDtype,
  { task, questions }: TaskQuestions<GenerationTask>,
  onDone: (done: number) => void,
  signal: AbortSignal,
): Promise<{ answers: Answer[]; counts: Record<string, number> }> {
  const maxTokens = textTokens(task, run.model.maxPositions);
  const options = { maxTokens, temperature: 0, topP: 0, seed: 0n, stop: task.until, computeDtype, wholePrompts: false };
  const mostPromptTokens = run.model.maxPositions - maxTokens;
  const answers: Answer[] = [];
  const counts = { cut: 0, promptTokens: 0, tokens: 0 };
  while (answers.length < questions.length) {
    const before = answers.length;
    const prompts = questions.slice(before, before + PROMPTS_TOGETHER).map(({ asks }) => (asks.kind === 'text' ? asks.prompt : ''));
    const request = { ...options, prompts, mostPromptTokens };
    const { texts, outcome, cutPrompts } = await wholeTexts(bench, run, model, request, (done) => onDone(before + done), signal);
    answers.push(...texts.map((text): Answer => ({ logLikelihoods: [], greedy: [], text })));
    counts.cut += cutPrompts;
    counts.promptTokens += Number(outcome.promptTokens);
    counts.tokens += Number(outcome.generatedTokens);
  }
  return { answers, counts };
}
