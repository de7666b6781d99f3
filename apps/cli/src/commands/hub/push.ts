// The command push, which publishes a run's model on the Hugging Face hub.
import { join } from 'node:path';
import type { Command } from 'commander';
import { inTemporaryFolder } from '#files';
import { hubName, pushFiles, textOf, type PushedFile } from '#hub';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { connectionWords } from '../../connection/lasting-stream.js';
import { exportRun } from '../../engine-calls.js';
import { downloadExport } from '../../exports/download-export.js';
import { CARD, cardOf } from '../../exports/model-card.js';
import { withHub } from '../../options/hub-files.js';
import { exportFormat, positiveNumber, wholeNumber } from '../../options/parse.js';
import { ShareLine } from '../../progress/share-line.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

interface PushOptions {
  teacher?: number;
  format?: string;
  dtype?: string;
  multipleOf?: number;
  public?: boolean;
}

export function registerPush(program: Command): void {
  const push = program
    .command('push')
    .argument(...RUN_ARGUMENT)
    .argument('<name>', 'org/name')
    .summary('publish the pruned model on the Hugging Face hub')
    .description(
      'Makes a model of the last state of a run, or of one of its teachers, as export does, and uploads it with a card: its figures, the ' +
        'recipe, the lineage, and the digests that prove it. A new repository is private. The card has no paths of this machine, but the ' +
        'names of files. HF_TOKEN needs the right to write.',
    )
    .option('--teacher <mark>', 'this teacher instead of the last state', wholeNumber)
    .option('--format <format>', 'the format of the export (default: hf-remote)', exportFormat)
    .option('--dtype <type>', 'bf16, f16 or f32; for gguf also others (default: as the original)')
    .option('--multiple-of <n>', 'fill MLP and hidden widths up with zeros to a multiple of it', positiveNumber)
    .option('--public', 'anyone may see a new repository');
  examples(push, ['espalier push k3f9 ann/llama-half'], ['espalier push k3f9 ann/llama-half-gguf --format gguf --dtype q8_0 --public']);
  action<PushOptions, [string, string]>(push, pushRun);
}

async function pushRun(context: Context, [runId, text]: [string, string], options: PushOptions): Promise<void> {
  const { connection, output, signal } = context;
  const name = hubName(text, 'model');
  if (name === null || name.revised !== undefined || name.plain !== undefined)
    throw new CliError('OPTION_INVALID', `${JSON.stringify(text)} is no name of a model on the hub; org/name is allowed`, {
      field: 'NAME',
      exitCode: ExitCode.usage,
    });
  const line = new ShareLine(output, `publishing ${textOf(name)}`);
  try {
    await inTemporaryFolder('push', async (scratch) => {
      const { teacher: teacherMark, format = '', dtype = '', multipleOf = 0 } = options;
      const request = { runId, teacherMark, format, dtype, multipleOf };
      const exported = await exportRun(connection, request, (share, waitingFor) => line.update(share / 3, waitingFor), signal);
      const place = { folder: join(scratch, 'export'), old: undefined };
      const written = await downloadExport(connection, {
        digest: exported.digest,
        place,
        signal,
        onProgress: (share) => line.update((1 + share) / 3),
        findServer: () => context.findServer(),
        onNews: (news) => line.note(connectionWords(news)),
      });
      const { run } = await connection.call(connection.runs, connection.runs.getRun, { runId });
      const files: PushedFile[] = written.files
        .filter((file) => file.name !== CARD)
        .map((file) => ({ path: file.name, file: join(place.folder, file.name) }));
      files.push({ path: CARD, text: cardOf(run, exported, written) });
      const title = `Espalier: run ${run.runId}, step ${exported.step}`;
      const onProgress = (share: number): void => line.update((2 + share) / 3);
      const onWait = (words: string): void => line.note(words);
      const pushed = await withHub('NAME', () =>
        pushFiles(name, files, { title, isPublic: options.public === true, signal, onProgress, onWait }),
      );
      line.end();
      output.result({ ...pushed, export: exported.digest, files: files.map(({ path }) => path) }, () =>
        output.text(`${pushed.url} at commit ${pushed.commit}: ${files.length} files`),
      );
    });
  } finally {
    line.end();
  }
}
