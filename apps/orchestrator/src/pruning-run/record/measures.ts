// The measure of an evaluation: a task, one of its metrics, and the convention that makes two results comparable. Perplexity is a measure,
// too.
import type { TaskDigests } from '#audit';

/** Two values can be compared if their measures are equal. */
export interface Measure {
  /** The task's name, or "text" where the model is measured on the given text itself. */
  task: string;
  metric: string;
  /** The convention in words, such as "windows of 256 tokens". Two conventions are equal only if their words are. */
  convention: string;
  /** The digest of the text that was measured, or of the rows of a task. */
  dataDigest: string;
  /** The digests of a task that is not the text itself: its declaration, its rows, and the tokenizer. */
  digests?: TaskDigests;
}

/** @param firstTokens the tokens at the beginning of the text that are measured; 0: all */
export const perplexityOver = (windowTokens: number, firstTokens = 0): Omit<Measure, 'dataDigest' | 'digests'> => ({
  task: 'text',
  metric: 'perplexity',
  convention: `windows of ${windowTokens} tokens${firstTokens === 0 ? '' : `, the first ${firstTokens} tokens`}`,
});

interface Measured {
  settings: { evaluationWindow: number; evaluationTokens: number };
  data: { validationDigest: string | null; validationTokens: number };
}

/** The tokens at the beginning of its validation text that a run measures, in whole windows; 0: all. */
export function firstTokensOf({
  settings: { evaluationWindow, evaluationTokens },
  data: { validationTokens },
}: Pick<Measured, 'settings'> & { data: { validationTokens: number } }): number {
  const windows = Math.max(1, Math.floor(evaluationTokens / evaluationWindow));
  return evaluationTokens === 0 || (windows + 1) * evaluationWindow > validationTokens ? 0 : windows * evaluationWindow;
}

/** The perplexity that a run measures by itself, or null where it has no validation text. */
export function ownPerplexity(run: Measured): Measure | null {
  const { validationDigest: dataDigest } = run.data;
  return dataDigest === null ? null : { ...perplexityOver(run.settings.evaluationWindow, firstTokensOf(run)), dataDigest };
}

export const isPerplexity = ({ task, metric }: Pick<Measure, 'task' | 'metric'>): boolean => task === 'text' && metric === 'perplexity';

/** Returns the tokens in a window, or 0 where the convention has no windows. */
export function windowOf({ convention }: Pick<Measure, 'convention'>): number {
  return Number(/^windows of (\d+) tokens(?:, the first \d+ tokens)?$/.exec(convention)?.[1] ?? 0);
}

export function sameMeasure(left: Measure, right: Measure): boolean {
  return (
    left.task === right.task &&
    left.metric === right.metric &&
    left.convention === right.convention &&
    left.dataDigest === right.dataDigest &&
    left.digests?.prompt === right.digests?.prompt &&
    left.digests?.tokenizer === right.digests?.tokenizer
  );
}

/** The digests of the artifacts that an evaluation needs: the tokens that it measured, or the results of a task's questions. */
export function artifactOf({
  digests,
  dataDigest,
  samplesDigest,
}: Pick<Measure, 'digests' | 'dataDigest'> & { samplesDigest?: string }): string[] {
  if (digests === undefined) return [dataDigest];
  return samplesDigest === undefined ? [] : [samplesDigest];
}

/** The words for a measure, such as "perplexity" or "boolq acc". */
export const measureName = ({ task, metric }: Pick<Measure, 'task' | 'metric'>): string => (task === 'text' ? metric : `${task} ${metric}`);
