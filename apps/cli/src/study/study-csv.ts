// Writes the runs of a study as CSV, one in each line.
import { requestedValues, settingsTable, type v1 } from '#protocol';
import { statusWord } from '../output/format.js';
import { csvCell, measureName, shareGone } from '#comparison';
import type { Whole } from '../connection/connection.js';

const FIRST = 'study,variant,run,status';

export function studyCsv({ study, runs }: Whole<v1.GetStudyResponse>): string {
  const table = settingsTable();
  const measures = [...new Set(runs.flatMap(({ run }) => (run === undefined ? [] : ownMeasures(run).map(([name]) => name))))];
  const head = [
    FIRST,
    ...table.map(({ field }) => field),
    'step',
    'sparsity',
    'hard_sparsity',
    'training_seconds',
    ...measures.map(csvCell),
    'refusal',
  ];
  const rows = runs.map(({ variant, settings, run, refusal }) => {
    const values = requestedValues(run?.settings ?? settings);
    const known = new Map(run === undefined ? [] : ownMeasures(run));
    return [
      study.name,
      variant,
      run?.runId ?? '',
      run === undefined ? (refusal === undefined ? 'waiting' : 'refused') : statusWord(run.status),
      ...table.map(({ name }) => String(values[name] ?? '')),
      run === undefined ? '' : String(run.step),
      run?.result === undefined ? '' : String(shareGone(run)),
      run === undefined ? '' : String(run.hardSparsity),
      run === undefined ? '' : String(run.trainingSeconds),
      ...measures.map((name) => (known.has(name) ? String(known.get(name)) : '')),
      refusal?.message ?? '',
    ];
  });
  return [head.join(','), ...rows.map((row) => row.map(csvCell).join(','))].map((line) => `${line}\n`).join('');
}

/** Returns the values of the last state, by their names. */
function ownMeasures({ evaluations, stateDigest }: v1.Run): [string, number][] {
  return evaluations
    .filter((one) => one.subject === 'masked' && !one.abandoned && one.stateDigest === stateDigest && (one.headline || one.task !== 'text'))
    .map((one) => [measureName(one), one.value]);
}

/** Tells whether a file with this beginning is a table by Espalier, which may be replaced. */
export function isStudyCsv(head: Buffer): boolean {
  return head.toString('utf8').startsWith(FIRST);
}
