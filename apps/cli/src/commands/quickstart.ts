import { Option, type Command } from 'commander';
import { bigNumber, choice, absolutePath, ratio, RECIPES, threadCount, wholeNumber } from '../options/parse.js';
import { runQuickstart, type QuickstartOptions } from '../quickstart.js';
import { action, examples } from './command.js';

export function registerQuickstart(program: Command): void {
  const quickstart = program
    .command('quickstart')
    .summary('prune the bundled model, from start to export')
    .description(
      'Starts a server on this data folder, prunes the bundled model to half its size, evaluates and exports it, and shows what has come ' +
        'of it. About three minutes on two cores. The server keeps running, to try other commands on.',
    )
    .option('--target-sparsity <share>', 'share of the prunable parameters to remove (default 0.5)', ratio)
    .addOption(new Option('--recipe <name>', 'nuteprune (default), distill or lm').argParser(choice(RECIPES)))
    .option('--steps <n>', 'steps in all (default 1,400)', wholeNumber)
    .option('--seed <n>', 'of the random numbers and the data order', bigNumber)
    .option('--threads <n>', 'that the engine may use (default: all cores)', threadCount)
    .option('--json <file>', 'also write the result to this file', absolutePath)
    .option('--stop', 'stop the server at the end');
  examples(
    quickstart,
    ['npm run quickstart'],
    ['npm run quickstart -- --target-sparsity 0.7 --json result.json'],
    ['npm run quickstart -- --steps 200 --data-folder /tmp/try', 'a quick look, in a folder of its own'],
  );
  action<QuickstartOptions>(quickstart, async (context, _, options) => {
    await runQuickstart(context, options);
  });
}
