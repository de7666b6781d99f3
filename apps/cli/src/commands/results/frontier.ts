// The command frontier: what a scan's best choice of layers loses at each size.
import { InvalidArgumentError, type Command } from 'commander';
import { count, decimal, percent } from '../../output/format.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

interface FrontierOptions {
  shares?: number[];
  widths?: boolean;
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
        'nats a token, if losses of layers added up. Nothing is trained. A launch with --library makes the same choice for its target.',
    )
    .option('--shares <shares>', "the sizes as shares of the intact model's parameters, e.g. 0.9,0.75,0.5 (default: 1 to 0.5)", sharesOf)
    .option('--widths', 'show what each layer keeps, as --layer-widths takes it');
  examples(frontier, ['espalier frontier layers'], ['espalier frontier layers --shares 0.74 --widths']);
  action<FrontierOptions, [string]>(frontier, async ({ connection, output }, [runId], { shares = [], widths }) => {
    const response = await connection.call(connection.runs, connection.runs.queryFrontier, { runId, shares }, TIMEOUT_MS);
    output.result(response, () => {
      output.table(
        ['PARAMETERS', 'OF INTACT', 'PRUNED', 'LOST'],
        response.points.map(({ parameters, sparsity, kl }) => [
          count(Number(parameters)),
          percent(Number(parameters) / Number(response.intactParameters)),
          percent(sparsity),
          decimal(kl, 4),
        ]),
        [0, 1, 2, 3],
      );
      output.text(output.style('dim', 'PRUNED: the share of the prunable parameters that goes; LOST: nats a token, before any training'));
      if (widths === true)
        for (const { parameters, layerWidths } of response.points) output.line(`${count(Number(parameters))} ${layerWidths}`);
    });
  });
}

function sharesOf(text: string): number[] {
  const shares = text.split(',').map(Number);
  if (shares.some((share) => !(share > 0 && share <= 1)))
    throw new InvalidArgumentError('must be shares above 0 up to 1, separated by commas');
  return shares;
}
