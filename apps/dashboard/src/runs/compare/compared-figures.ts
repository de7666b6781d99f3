// The figures and settings that a comparison shows for each run.
import { shareGone } from '../../../../../libs/comparison/src/index.js';
import { wordsOf } from '../../forms/run/setting-table.js';
import type { QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count, decimal, duration, percent, plainNumber, short } from '../../ui/format.js';
import { headlineOf, nameOf } from '../columns.js';
import { QUALITY, SIZE, type Member } from './comparison.js';
import { trainWords } from '../../run/command-words.js';

export interface Compared {
  run: Run;
  curves: QueryCurvesResponse;
}

export function runOf(all: readonly Compared[], runId: string): Run {
  const found = all.find(({ run }) => run.runId === runId);
  if (found === undefined) throw new TypeError(`run ${runId} is not compared`);
  return found.run;
}

/** The most runs in a comparison. A reader could not tell more curves apart. */
export const MOST_COMPARED = 200;

/** The points of each run. More runs have fewer points each, so the points in a chart stay about the same. */
export const pointsOf = (runs: number): number => Math.round(Math.min(800, Math.max(100, 8_000 / Math.max(1, runs))));

interface Figure {
  name: string;
  words: (value: number) => string;
  /** Formats a difference, if it reads differently from a value. */
  differenceWords?: (value: number) => string;
  /** Why a difference of this figure makes no run better. */
  about?: string;
  of: (run: Run) => number | undefined;
}

export const FIGURES: Figure[] = [
  { name: QUALITY, words: decimal, of: (run) => headlineOf(run)?.perplexity },
  {
    name: 'sparsity',
    words: percent,
    differenceWords: (value) => `${(value * 100).toFixed(1)} points`,
    of: (run) => (run.result === undefined ? undefined : shareGone(run)),
  },
  { name: SIZE, words: short, of: ({ result }) => result && Number(result.parameterCount) },
  { name: 'last loss', words: decimal, about: 'of one batch, by the run’s own objective', of: ({ lastStep }) => lastStep?.loss },
  { name: 'step', words: count, of: ({ step }) => Number(step) },
  { name: 'teachers', words: count, of: ({ teacherCount }) => teacherCount },
  {
    name: 'tokens a second',
    words: short,
    about: 'depends on the machine’s load',
    of: ({ tokensPerSecond }) => (tokensPerSecond > 0 ? tokensPerSecond : undefined),
  },
  { name: 'time of training', words: duration, about: 'depends on the machine’s load', of: ({ trainingSeconds }) => trainingSeconds },
  { name: 'restarts', words: count, of: ({ restarts }) => restarts },
];

export function memberOf({ run }: Compared): Member {
  const headline = headlineOf(run);
  const words = Object.entries(wordsOf(run.settings)).map(([name, value]) => [name.replaceAll('_', ' '), plainNumber(value)]);
  return {
    runId: run.runId,
    name: nameOf(run),
    settings: {
      model: run.modelPath,
      'training text': run.data === undefined ? '' : trainWords(run.data).join(', '),
      ...(Object.fromEntries(words) as Record<string, string>),
    },
    figures: Object.fromEntries(FIGURES.map(({ name, of }) => [name, of(run)])),
    measure: headline === undefined ? '' : `${headline.convention} ${headline.dataDigest}`,
    isFork: run.parentRunId !== '',
  };
}
