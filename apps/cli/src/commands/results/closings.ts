// Shows where a run's loss comes from: the perplexity of the intact model with the closed gates of one layer and kind at a time.
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { evaluateRun } from '../../engine-calls.js';
import { subjectWords } from '../../output/evaluation-words.js';
import { count, decimal, howMany } from '../../output/format.js';
import { ShareLine } from '../../progress/share-line.js';

export interface ClosingsOptions {
  layers: number[] | undefined;
  request: Partial<v1.EvaluateRunRequest>;
}

interface Row {
  layer: number;
  heads: v1.Evaluation;
  units: v1.Evaluation;
}

export async function showClosings({ connection, output, signal }: Context, runId: string, options: ClosingsOptions): Promise<void> {
  const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
  const all = run.layers.map((_, layer) => layer);
  const layers = options.layers === undefined ? all : [...new Set(options.layers)];
  const unknown = layers.find((layer) => layer >= all.length);
  if (unknown !== undefined)
    throw new CliError('FIELD_OUT_OF_RANGE', `--layer: the model has layers 0 to ${all.length - 1}, not ${unknown}`, {
      field: '--layer',
      exitCode: ExitCode.usage,
    });
  const line = new ShareLine(output, 'evaluating');
  const evaluations: v1.Evaluation[] = [];
  const expected = 2 * layers.length + 3;
  const evaluate = async (subject: Partial<v1.EvaluateRunRequest>): Promise<v1.Evaluation> => {
    const onProgress = (share: number, waitingFor: string): void => line.update((evaluations.length + share) / expected, waitingFor);
    const evaluation = await evaluateRun(connection, { ...options.request, ...subject, runId }, onProgress, signal);
    evaluations.push(evaluation);
    line.part(`${evaluations.length} of ${expected} evaluated: ${subjectWords(evaluation)}, perplexity ${decimal(evaluation.value)}`);
    return evaluation;
  };
  try {
    const intact = await evaluate({ intact: true, teacherMark: undefined });
    const rows: Row[] = [];
    for (const layer of layers) {
      const heads = await evaluate({ closings: { layer, kind: 'heads' } });
      rows.push({ layer, heads, units: await evaluate({ closings: { layer, kind: 'units' } }) });
    }
    const hidden = await evaluate({ closings: { layer: undefined, kind: 'hidden' } });
    const together = await evaluate({ closings: { layer: undefined, kind: '' } });
    line.end();
    output.result(evaluations, () => {
      output.table(
        ['LAYER', 'HEADS CLOSED', 'PERPLEXITY', 'UNITS CLOSED', 'PERPLEXITY'],
        rows.map(({ layer, heads, units }) => [
          String(layer),
          count(closed(heads)),
          decimal(heads.value),
          count(closed(units)),
          decimal(units.value),
        ]),
        [0, 1, 2, 3, 4],
      );
      output.text(`${howMany(closed(hidden), 'hidden unit')} closed: ${decimal(hidden.value)}`);
      output.text(`all ${count(closed(together))} together: ${decimal(together.value)}; intact: ${decimal(intact.value)}`);
      output.text(output.style('dim', `state of step ${together.step}, nothing trained, ${together.convention}`));
    });
  } finally {
    line.end();
  }
}

const closed = ({ details }: v1.Evaluation): number => details['closedGates'] ?? 0;
