// The command `study plot`, which draws a study: the results of its runs, or their curves.
import type { Command } from 'commander';
import { groupName, intactValue, linesOf, measureNames } from '#comparison';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { requireFilePlace, writeFileWhole } from '../../output/result-files.js';
import { absolutePath } from '../../options/parse.js';
import { bandOf, curvesSvg, type BandLine } from '../../study/curves-svg.js';
import { isStudySvg } from '../../study/plot-frame.js';
import { detailOf, requireMeasure, STUDY_ARGUMENT } from '../../study/study-detail.js';
import { studySvg } from '../../study/study-svg.js';
import { action, examples } from '../command.js';
import type { Whole } from '../../connection/connection.js';

interface PlotOptions {
  out: string;
  measure?: string;
  curve?: string;
  force?: boolean;
}
/** The number of points of a curve, about one for each pixel of the drawing. */
const CURVE_POINTS = 400;

export function registerPlot(study: Command): void {
  const plot = study
    .command('plot')
    .argument(...STUDY_ARGUMENT)
    .summary('quality against sparsity, or curves over the steps, as a drawing (SVG)')
    .description(
      'Draws quality against sparsity, a line for each variant, with bars for the standard deviation over its seeds. With --curve it ' +
        'draws what the runs measured step by step: the mean over the seeds, in a band of their standard deviation.',
    )
    .requiredOption('--out <file>', 'where to write the SVG', absolutePath)
    .option('--measure <name>', 'another measure than perplexity, e.g. "boolq acc"')
    .option('--curve <quantity>', 'loss, expected_sparsity, hard_sparsity, tokens_per_second or another curve of the dashboard')
    .option('--force', 'replace an earlier drawing there');
  examples(
    plot,
    ['espalier study plot recipes --out recipes.svg'],
    ['espalier study plot recipes --curve loss --out loss.svg', 'with a band over the seeds'],
  );
  action<PlotOptions, [string]>(plot, async (context, [studyId], { out, measure, curve, force = false }) => {
    if (measure !== undefined && curve !== undefined)
      throw new CliError('OPTIONS_CONFLICT', '--measure is of where runs ended, --curve of their steps: give one', {
        exitCode: ExitCode.usage,
      });
    await requireFilePlace(out, { option: '--out', force, what: 'a drawing of "espalier study"', isOurs: isStudySvg });
    const detail = await detailOf(context, studyId);
    const { svg, about } = curve === undefined ? ofMeasure(detail, measure) : await ofCurve(context, detail, curve);
    await writeFileWhole(out, once(svg));
    context.output.result({ out, ...about }, () => context.output.line(`drawn in ${out}`));
  });
}

interface Drawing {
  svg: string;
  about: Record<string, unknown>;
}

function ofMeasure(detail: Whole<v1.GetStudyResponse>, measure: string | undefined): Drawing {
  requireMeasure(detail, measure);
  const { study, groups } = detail;
  const lines = linesOf(groups, measure);
  if (lines.length === 0) throw nothingToDraw(study, 'with an evaluation');
  const name = measure ?? measureNames(groups)[0]!;
  return {
    svg: studySvg({ title: study.name, measure: name, lines, intact: intactValue(groups, measure) }),
    about: { measure: name, lines },
  };
}

async function ofCurve({ connection }: Context, { study, groups, runs }: Whole<v1.GetStudyResponse>, quantity: string): Promise<Drawing> {
  const lines: BandLine[] = [];
  let known = new Set<string>();
  for (const [index, group] of groups.entries()) {
    const curves: { steps: number[]; values: number[] }[] = [];
    for (const { run } of runs.filter((one) => one.group === index)) {
      if (run?.status !== v1.RunStatus.RUN_STATUS_COMPLETED) continue;
      const request = { runId: run.runId, maxPoints: CURVE_POINTS, quantities: [], fromStep: undefined, toStep: undefined, live: false };
      const answer = await connection.call(connection.history, connection.history.queryCurves, request);
      known = new Set([...known, ...answer.curves.map((one) => one.quantity)]);
      const found = answer.curves.find((one) => one.quantity === quantity);
      if (found !== undefined) curves.push({ steps: answer.steps.map(Number), values: found.mean });
    }
    const points = bandOf(curves);
    if (points.length > 0) lines.push({ name: groupName(group), points });
  }
  if (lines.length === 0 && known.size > 0)
    throw new CliError('OPTION_INVALID', `no run of the study has the curve "${quantity}"; there are: ${[...known].join(', ')}`, {
      field: '--curve',
      exitCode: ExitCode.usage,
    });
  if (lines.length === 0) throw nothingToDraw(study, 'with recorded steps');
  return { svg: curvesSvg({ title: study.name, quantity, lines }), about: { curve: quantity, lines } };
}

const nothingToDraw = (study: v1.Study, what: string): CliError =>
  new CliError('STUDY_WITHOUT_RESULTS', `no run of study ${study.name} has completed ${what} yet: there is nothing to draw`, {
    exitCode: ExitCode.notAllowed,
  });

async function* once(text: string): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield Buffer.from(text);
}
