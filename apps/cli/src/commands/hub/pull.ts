// The command pull, which fetches a model or a text from the Hugging Face hub, and makes the folder of a model in a GGUF file.
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { isGgufFile } from '#gguf';
import { hubName } from '#hub';
import { CliError, ExitCode } from '../../cli-error.js';
import { folderOfGgufShown } from '../../options/gguf-files.js';
import { fetchShown } from '../../options/hub-files.js';
import { absolutePath } from '../../options/parse.js';
import { action, examples } from '../command.js';

export function registerPull(program: Command): void {
  const pull = program
    .command('pull')
    .argument('<name>', 'org/name, org/name@revision or a GGUF file; with --dataset also org/name:config:split')
    .summary('fetch a model or a text from the Hugging Face hub, or convert a GGUF file')
    .description(
      "Fetches the files that Espalier reads into Hugging Face's cache on this machine, and prints their paths. Each file is checked " +
        'against the digest that the hub names, and one that was cut off goes on where it ended. Asks the hub also for a name that the ' +
        'cache has, for its newest commit. Needs no server. HF_TOKEN, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE hold as everywhere. Of a ' +
        "GGUF file, on this disk or on the hub, it makes the folder of a model in Espalier's cache.",
    )
    .option('--dataset', 'the name is that of a data set');
  examples(
    pull,
    ['espalier pull HuggingFaceTB/SmolLM2-135M'],
    ['espalier pull --dataset Salesforce/wikitext:wikitext-2-raw-v1:train'],
    ['espalier pull model.Q4_K_M.gguf'],
  );
  action<{ dataset?: boolean }, [string]>(pull, async (context, [text], { dataset = false }) => {
    const name = hubName(text, dataset ? 'dataset' : 'model');
    const isFile = isGgufFile(text) && !dataset && (name === null || name.plain === undefined || existsSync(text));
    if (name === null && !isFile)
      throw new CliError('OPTION_INVALID', `${JSON.stringify(text)} is no name of the hub and no GGUF file; org/name is allowed`, {
        field: 'NAME',
        exitCode: ExitCode.usage,
      });
    const fetched = isFile || name === null ? { paths: [absolutePath(text)] } : await fetchShown(context, name, 'NAME', true);
    const [path = text] = fetched.paths;
    if (!dataset && isGgufFile(path)) fetched.paths = [await folderOfGgufShown(context, path, 'NAME')];
    context.output.result(fetched, () => fetched.paths.forEach((one) => context.output.text(one)));
  });
}
