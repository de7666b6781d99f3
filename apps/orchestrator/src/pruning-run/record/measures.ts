// The measure of an evaluation: a task, a metric of it, and the convention that makes two results comparable. Perplexity is one of them.

/** Equal measures give values that can be compared. */
export interface Measure {
  /** "text": the given text itself. */
  task: string;
  metric: string;
  /** In words, exactly as it is compared: "windows of 256 tokens". */
  convention: string;
  /** The text that it was measured on, or the rows of a task. */
  dataDigest: string;
  /** Digests of a task that is not the text itself: its declaration, its rows, and the tokenizer. */
  digests?: TaskDigests;
}

export interface TaskDigests {
  prompt: string;
  data: string;
  tokenizer: string;
}

export const perplexityOver = (windowTokens: number): Omit<Measure, 'dataDigest' | 'digests'> => ({
  task: 'text',
  metric: 'perplexity',
  convention: `windows of ${windowTokens} tokens`,
});

export const isPerplexity = ({ task, metric }: Pick<Measure, 'task' | 'metric'>): boolean => task === 'text' && metric === 'perplexity';

/** 0 where the convention has no windows. */
export function windowOf({ convention }: Pick<Measure, 'convention'>): number {
  return Number(/^windows of (\d+) tokens$/.exec(convention)?.[1] ?? 0);
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

/** The artifact that an evaluation needs: the tokens that it was measured on, or the results of a task's questions. */
export function artifactOf({
  digests,
  dataDigest,
  samplesDigest,
}: Pick<Measure, 'digests' | 'dataDigest'> & { samplesDigest?: string }): string[] {
  if (digests === undefined) return [dataDigest];
  return samplesDigest === undefined ? [] : [samplesDigest];
}

/** "perplexity", "boolq acc" */
export const measureName = ({ task, metric }: Pick<Measure, 'task' | 'metric'>): string => (task === 'text' ? metric : `${task} ${metric}`);
