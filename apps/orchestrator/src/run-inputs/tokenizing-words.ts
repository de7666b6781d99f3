// Words for the progress of tokenizing a run's texts, with its rate and the time that is left.
import { byteWords } from '#comparison';
import type { TokenizingProgress } from '#model-files';

export interface PreparationProgress {
  /** The present work in words, such as "reading the model's weights". */
  doing: string;
  doneShare: number;
}

/** A rate over a shorter time says little, since threads start and read the tokenizer first. */
const RATE_AFTER_MS = 3_000;

export class TokenizingWords {
  private index = -1;

  /** @param bytes the sizes of the texts, in the order in which they are tokenized */
  constructor(
    private readonly bytes: readonly number[],
    private readonly onProgress: (progress: PreparationProgress) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Goes on with the next text, which may be tokenized already. Returns the function that takes its progress. */
  next(what: string): (progress: Pick<TokenizingProgress, 'bytesDone'>) => void {
    this.index += 1;
    const before = this.sum(0, this.index);
    const total = Math.max(this.sum(0, this.bytes.length), 1);
    let first: { atMs: number; bytesDone: number } | null = null;
    const report = (words: string, bytesDone: number): void =>
      this.onProgress({ doing: `tokenizing ${what}${words}`, doneShare: (before + bytesDone) / total });
    report('', 0);
    return ({ bytesDone }) => {
      const atMs = this.now();
      first ??= { atMs, bytesDone }; // parts that were tokenized before do not count for the rate
      const [bytes, ms] = [bytesDone - first.bytesDone, atMs - first.atMs];
      if (ms < RATE_AFTER_MS || bytes <= 0) return report('', bytesDone);
      const left = ((total - before - bytesDone) / bytes) * ms;
      report(`, ${byteWords(Math.round((bytes / ms) * 1000))} a second, ${durationWords(left)} left`, bytesDone);
    };
  }

  private sum(from: number, to: number): number {
    return this.bytes.slice(from, to).reduce((sum, one) => sum + one, 0);
  }
}

function durationWords(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 1.5) return `${Math.max(Math.ceil(ms / 1000), 1)} s`;
  return minutes < 90 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`;
}
