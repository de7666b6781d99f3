// The command frontier: what a scan's best choices of layers lose at each size, and what training made of those that were launched.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { stringify } from 'yaml';
import { enumValue, enumWords, v1 } from '#protocol';
import type { Connection } from '../../connection/connection.js';
import { bytes, count, decimal, percent } from '../../output/format.js';
import { statusText } from '../../output/run-status.js';
import type { Output } from '../../output/output.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

const SHAPE_TARGETS = enumWords(v1.ShapeTarget, 'SHAPE_TARGET_');

interface FrontierOptions {
  shares?: number[];
  choices?: number;
  for?: (typeof SHAPE_TARGETS)[number];
  widths?: boolean;
  study?: boolean;
}

/** A choice is solved in about a second. */
const TIMEOUT_MS = 300_000;

export function registerFrontier(program: Command): void {
  const frontier = program
    .command('frontier')
    .argument(...RUN_ARGUMENT)
    .summary('what the best choice of layers loses at each size, by a scan')
    .description(
      'Shows for each size which forms of its layers a scan would choose, and the sum of their scores: how far the predictions move, in ' +
        'nats a token, if losses of layers added up. Nothing is trained. A launch with --library makes the same choice for its target. ' +
        'The runs that were launched with the scan follow.',
    )
    .option('--shares <shares>', "the sizes as shares of the intact model's parameters, e.g. 0.9,0.75,0.5 (default: 1 to 0.5)", sharesOf)
    .option('--choices <number>', 'the best choices for each size, each different in a tenth of the parts (default: 1)', choicesOf)
    .addOption(new Option('--for <target>', 'only choices that suit this program, as in a launch').choices(SHAPE_TARGETS))
    .option('--widths', 'show what each layer keeps, as --layer-widths takes it')
    .option('--study', 'print a study file in place of tables: each choice as a run that is pruned, measured and not trained');
  examples(
    frontier,
    ['espalier frontier layers'],
    ['espalier frontier layers --shares 0.74 --widths'],
    ['espalier frontier layers --shares 0.74 --choices 10 --study > choices.yaml'],
  );
  action<FrontierOptions, [string]>(frontier, async ({ connection, output }, [runId], options) => {
    const { shares = [], choices = 1, for: target = 'free', widths, study } = options;
    const shapeTarget = enumValue(v1.ShapeTarget, 'SHAPE_TARGET_', target);
    const request = { runId, shares, choices, shapeTarget };
    const response = await connection.call(connection.runs, connection.runs.queryFrontier, request, TIMEOUT_MS);
    const text = study === true ? await studyOf(connection, runId, response.points) : null;
    output.result(response, () => {
      if (text !== null) return output.line(text);
      printChoices(output, response);
      printRuns(output, response.runs);
      if (widths === true)
        for (const { parameters, layerWidths } of response.points) output.line(`${count(Number(parameters))} ${layerWidths}`);
    });
  });
}

function printChoices(output: Output, { points, intactParameters }: v1.QueryFrontierResponse): void {
  output.table(
    ['PARAMETERS', 'OF INTACT', 'PRUNED', 'MULTIPLY-ADDS', 'WEIGHTS', 'LOST'],
    points.map(({ parameters, sparsity, multiplyAddShare, weightBytes, kl }) => [
      count(Number(parameters)),
      percent(Number(parameters) / Number(intactParameters)),
      percent(sparsity),
      percent(multiplyAddShare),
      bytes(weightBytes),
      decimal(kl, 4),
    ]),
    [0, 1, 2, 3, 4, 5],
  );
  output.text(output.style('dim', 'PRUNED: the share of the prunable parameters that goes; LOST: nats a token, before any training'));
}

/** A choice and its run have different quantities: nats a token that are lost before training, and the perplexity behind it. */
function printRuns(output: Output, runs: readonly v1.FrontierRun[]): void {
  const launched = runs.flatMap(({ run, kl }) => (run === undefined ? [] : [{ ...run, kl }]));
  if (launched.length === 0) return;
  output.text('');
  output.table(
    ['RUN', 'STATUS', 'PARAMETERS', 'LOST', 'RECOVERY STEPS', 'PERPLEXITY'],
    launched.map((run) => [
      run.name || run.runId,
      statusText(run),
      run.result === undefined ? '-' : count(Number(run.result.parameterCount)),
      decimal(run.kl, 4),
      count(run.settings?.recoverSteps ?? 0),
      decimal(run.evaluations.find(({ headline }) => headline)?.perplexity, 2),
    ]),
    [2, 3, 4, 5],
    { RUN: 'cut' },
  );
}

/** A study of the choices: runs that prune as the choices say, and train nothing. */
async function studyOf(connection: Connection, runId: string, points: readonly v1.FrontierPoint[]): Promise<string> {
  const { run: scan } = await connection.call(connection.runs, connection.runs.getRun, { runId });
  const { trainPath, validationPath, moreTrainPaths, moreValidationPaths, textColumn } = scan.data!;
  const validation = [validationPath, ...moreValidationPaths].filter((path) => path !== '');
  const ofShare = new Map<number, number>();
  const nameOf = ({ share }: v1.FrontierPoint): string => {
    ofShare.set(share, (ofShare.get(share) ?? 0) + 1);
    return `${percent(share)} choice ${ofShare.get(share)}`;
  };
  return stringify(
    {
      name: `choices of ${scan.name || scan.runId}`,
      model: scan.modelPath,
      data: [trainPath, ...moreTrainPaths],
      ...(validation.length === 0 ? {} : { validation }),
      ...(textColumn === '' ? {} : { text_column: textColumn }),
      settings: { preset: 'fisher', library: scan.runId, recover_steps: 0 },
      runs: points.map((point) => ({ name: nameOf(point), settings: { layer_widths: point.layerWidths } })),
    },
    { lineWidth: 0 },
  ).trimEnd();
}

function sharesOf(text: string): number[] {
  const shares = text.split(',').map(Number);
  if (shares.some((share) => !(share > 0 && share <= 1)))
    throw new InvalidArgumentError('must be shares above 0 up to 1, separated by commas');
  return shares;
}

function choicesOf(text: string): number {
  const choices = Number(text);
  if (!Number.isInteger(choices) || choices < 1) throw new InvalidArgumentError('must be a whole number from 1');
  return choices;
}
