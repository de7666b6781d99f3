import type { Command } from 'commander';
import { absolutePath, threadCount } from '../options/parse.js';
import { addSettingOptions } from '../options/settings-options.js';
import { runQuickstart, type QuickstartOptions } from '../quickstart/quickstart.js';
import { action, examples } from './command.js';

/** The settings that the command has options for. The preset decides about the others. */
const QUICKSTART_SETTINGS = ['recipe', 'target_sparsity', 'total_steps', 'recover_steps', 'seed'];

export function registerQuickstart(program: Command): void {
  const quickstart = program
    .command('quickstart')
    .summary('prune the bundled model, from start to export')
    .description(
      'Starts a server on this data folder, prunes the bundled model to half its size, evaluates and exports it, and shows the result. ' +
        'About three minutes on two cores. The server keeps running, to try other commands on.',
    )
    .option('--threads <n>', 'number of threads of the engine (default: all cores)', threadCount)
    .option('--json <file>', 'also write the result to this file', absolutePath)
    .option('--stop', 'stop the server at the end');
  addSettingOptions(quickstart, QUICKSTART_SETTINGS);
  examples(
    quickstart,
    ['espalier quickstart'],
    ['espalier quickstart --target-sparsity 0.7 --json result.json'],
    ['espalier quickstart --steps 200 --data-folder /tmp/try', 'a quick look, in a folder of its own'],
  );
  action<QuickstartOptions>(quickstart, async (context, _, options) => {
    await runQuickstart(context, options);
  });
}
