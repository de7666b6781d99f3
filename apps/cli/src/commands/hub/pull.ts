// The command pull, which fetches a model or a text from the Hugging Face hub.
import type { Command } from 'commander';
import { hubName } from '#hub';
import { CliError, ExitCode } from '../../cli-error.js';
import { fetchShown } from '../../options/hub-files.js';
import { action, examples } from '../command.js';

export function registerPull(program: Command): void {
  const pull = program
    .command('pull')
    .argument('<name>', 'org/name or org/name@revision; with --dataset also org/name:config:split')
    .summary('fetch a model or a text from the Hugging Face hub')
    .description(
      "Fetches the files that Espalier reads into Hugging Face's cache on this machine, and prints their paths. Each file is checked " +
        'against the digest that the hub names, and one that was cut off goes on where it ended. Asks the hub also for a name that the ' +
        'cache has, for its newest commit. Needs no server. HF_TOKEN, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE hold as everywhere.',
    )
    .option('--dataset', 'the name is that of a data set');
  examples(pull, ['espalier pull HuggingFaceTB/SmolLM2-135M'], ['espalier pull --dataset Salesforce/wikitext:wikitext-2-raw-v1:train']);
  action<{ dataset?: boolean }>(pull, async (context, [text], { dataset = false }) => {
    const name = hubName(text!, dataset ? 'dataset' : 'model');
    if (name === null)
      throw new CliError('OPTION_INVALID', `${JSON.stringify(text)} is no name of the hub; org/name is allowed`, {
        field: 'NAME',
        exitCode: ExitCode.usage,
      });
    const fetched = await fetchShown(context, name, 'NAME', true);
    context.output.result(fetched, () => fetched.paths.forEach((path) => context.output.text(path)));
  });
}
