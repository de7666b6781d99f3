import type { Command } from 'commander';
import type { v1 } from '#protocol';
import type { Context } from '../../command-context.js';
import { decimal, percent, shortDigest } from '../../output/format.js';
import { action, examples } from '../command.js';

export function registerDiff(program: Command): void {
  const diff = program
    .command('diff')
    .argument('<left>', 'a run')
    .argument('<right>', 'another run')
    .summary('how two runs differ')
    .description('Compares two runs: settings, metrics, sparsity of each layer, and which heads and units only one of them keeps.')
    .option('--units', 'name the units that differ, not only how many');
  examples(diff, ['espalier diff k3f9 m2qa'], ['espalier diff k3f9 m2qa --units']);
  action<{ units?: boolean }, [string, string]>(diff, async (context, [leftRunId, rightRunId], options) => {
    const { connection, output } = context;
    const response = await connection.call(connection.runs, connection.runs.compareRuns, {
      leftRunId: leftRunId,
      rightRunId: rightRunId,
    });
    output.result(response, () => printDiff(context, response, leftRunId, rightRunId, options.units === true));
  });
}

/** Shortens digests and long decimals to a length that people can compare. --json shows them whole. */
function short(value: string): string {
  if (/^[0-9a-f]{64}$/.test(value)) return shortDigest(value);
  return /^-?\d+\.\d{7,}$/.test(value) ? decimal(Number(value), 6) : value;
}

function printDiff({ output }: Context, diff: v1.CompareRunsResponse, left: string, right: string, withUnits: boolean): void {
  if (diff.commonAncestorRunId !== '') output.line(`same history up to step ${diff.commonStep} of ${diff.commonAncestorRunId}\n`);
  for (const [title, differences] of [
    ['SETTING', diff.settings],
    ['METRIC', diff.metrics],
  ] as const) {
    if (differences.length === 0) continue;
    output.table(
      [title, left, right],
      differences.map((one) => [one.field, short(one.left), short(one.right)]),
      [],
      { [left]: 'wrap', [right]: 'wrap' },
    );
    output.line();
  }
  if (diff.settings.length === 0) output.line('the settings are the same');
  const named = (layer: v1.LayerDifference) =>
    [layer.headsOnlyLeft, layer.headsOnlyRight, layer.unitsOnlyLeft, layer.unitsOnlyRight].some((only) => only.length > 0);
  const changed = diff.layers.filter((layer) => named(layer) || layer.sparsityLeft !== layer.sparsityRight);
  if (changed.length === 0) {
    output.line('the same heads and units are open');
    return;
  }
  const units = (only: number[]) => (withUnits ? only.join(' ') || '-' : only.length === 0 ? '-' : String(only.length));
  output.table(
    [
      'LAYER',
      `SPARSITY ${left}`,
      `SPARSITY ${right}`,
      `HEADS ONLY ${left}`,
      `HEADS ONLY ${right}`,
      `UNITS ONLY ${left}`,
      `UNITS ONLY ${right}`,
    ],
    changed.map((layer) => [
      String(layer.layer),
      percent(layer.sparsityLeft),
      percent(layer.sparsityRight),
      layer.headsOnlyLeft.join(' ') || '-',
      layer.headsOnlyRight.join(' ') || '-',
      units(layer.unitsOnlyLeft),
      units(layer.unitsOnlyRight),
    ]),
    [0, 1, 2],
    {
      [`HEADS ONLY ${left}`]: 'wrap',
      [`HEADS ONLY ${right}`]: 'wrap',
      [`UNITS ONLY ${left}`]: 'wrap',
      [`UNITS ONLY ${right}`]: 'wrap',
    },
  );
  if (changed.some(named))
    output.text(
      `ONLY: what that run keeps open and the other one has pruned${withUnits ? '' : '; of units their number (--units names them)'}`,
    );
  if (!changed.some(named)) output.text('which heads and units differ is not known: the last state of one of the runs is not kept');
}
