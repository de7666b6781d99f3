// The figures and settings that a comparison shows for each run.
import { wordsOf } from '../../forms/run/setting-table.js';
import type { QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count, decimal, duration, percent, plainNumber, short } from '../../ui/format.js';
import { headlineOf, nameOf } from '../columns.js';
import type { Better, Member } from './comparison.js';
import { trainWords } from '../../run/command-words.js';

export interface Compared {
  run: Run;
  curves: QueryCurvesResponse;
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
  better: Better;
  of: (run: Run) => number | undefined;
}

export const FIGURES: Figure[] = [
  { name: 'perplexity', words: decimal, better: 'low', of: (run) => headlineOf(run)?.perplexity },
  {
    name: 'hard sparsity',
    words: percent,
    differenceWords: (value) => `${(value * 100).toFixed(1)} points`,
    better: 'neither',
    of: ({ hardSparsity }) => hardSparsity,
  },
  { name: 'parameters left', words: short, better: 'low', of: ({ result }) => result && Number(result.parameterCount) },
  { name: 'last loss', words: decimal, better: 'low', of: ({ lastStep }) => lastStep?.loss },
  { name: 'step', words: count, better: 'neither', of: ({ step }) => Number(step) },
  { name: 'teachers', words: count, better: 'neither', of: ({ teacherCount }) => teacherCount },
  { name: 'tokens a second', words: short, better: 'high', of: ({ tokensPerSecond }) => tokensPerSecond },
  { name: 'time of training', words: duration, better: 'low', of: ({ trainingSeconds }) => trainingSeconds },
  { name: 'restarts', words: count, better: 'low', of: ({ restarts }) => restarts },
];

export function memberOf({ run }: Compared): Member {
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
  };
}
