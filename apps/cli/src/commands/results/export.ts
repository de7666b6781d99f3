// The command export, which writes a run as a model for other programs.
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { architecturesWith, EXPORT_FORMATS } from '#comparison';
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { connectionWords, type ConnectionNews } from '../../connection/lasting-stream.js';
import { downloadExport, downloadExportedFile, isOurGguf } from '../../exports/download-export.js';
import { findExportPlace } from '../../exports/export-folder.js';
import { clearUnfinished, requireFilePlace, unfinishedWords } from '../../output/result-files.js';
import { exportRun } from '../../engine-calls.js';
import { HubFiles } from '../../options/hub-files.js';
import { MODEL_OPTION } from '../../options/model-option.js';
import { absolutePath, exportFormat, positiveNumber, wholeNumber } from '../../options/parse.js';
import { bytes, count } from '../../output/format.js';
import type { Output } from '../../output/output.js';
import { ShareLine } from '../../progress/share-line.js';
import { action, examples } from '../command.js';

/** The shown digits of a digest, as elsewhere. The first 4 suffice as long as no other digest begins with them. */
const SHOWN_DIGITS = 12;

export interface ExportOptions {
  out: string;
  model?: string;
  teacher?: number;
  format?: string;
  form?: string;
  dtype?: string;
  multipleOf?: number;
  proof: boolean;
  force?: boolean;
}

const GGUF_ENDING = '.gguf';
/** The file of an export in GGUF. */
const GGUF_FILE = 'model.gguf';

export function registerExport(program: Command): void {
  const exporting = program
    .command('export')
    .argument('[run]', 'its id, the first 4 or more characters of it, or its name; left out with --model')
    .summary('write the pruned model, or a model without a run, for other programs')
    .description(
      'Makes a model of the last state of a run, or of one of its teachers, and writes it here. Every file is checked against its ' +
        'digest, and the result appears only when it is complete. What it computes is compared with the masked student by every loader ' +
        'at hand. With --model, a model without a run is written as it is. Formats: ' +
        `${Object.entries(EXPORT_FORMATS)
          .map(([name, words]) => `${name} (${words})`)
          .join(', ')}.`,
    )
    .requiredOption('-o, --out <path>', 'the folder to write; with --format gguf it may be a file that ends in .gguf', absolutePath)
    .option(MODEL_OPTION[0], `a model without a run: ${MODEL_OPTION[1]}`, MODEL_OPTION[2])
    .option('--teacher <mark>', 'this teacher instead of the last state', wholeNumber)
    .option('--format <format>', 'one of these formats (default: hf-remote, or gguf for a file)', exportFormat)
    .option(
      '--form <form>',
      'of gguf: compacted, padded (all layers alike) or masked ' + `(default: compacted; padded for ${architecturesWith('alikeInGguf')})`,
    )
    .option(
      '--dtype <type>',
      'bf16, f16 or f32; for gguf also q8_0, and by llama.cpp q4_k_m and its like (docs/exports.md; default: as the original)',
    )
    .option(
      '--multiple-of <n>',
      'fill MLP and hidden widths up with zeros to a multiple of it (default: 1, for q8_0 32, for q4_k_m 256)',
      positiveNumber,
    )
    .option('--no-proof', 'do not evaluate the result')
    .option('--force', 'replace an earlier export there; anything else is left alone');
  examples(
    exporting,
    ['espalier export k3f9 --out pruned/'],
    ['espalier export k3f9 --dtype q8_0 --out pruned.gguf'],
    ['espalier export k3f9 --dtype q4_k_m --out pruned.gguf', "by llama.cpp's quantizer, where it is installed"],
    ['espalier export --model HuggingFaceTB/SmolLM2-135M --out smollm2.gguf', 'a model without a run'],
    ['espalier export k3f9 --teacher 20 --format hf --dtype f16 --multiple-of 64 --out pruned-20/'],
  );
  action<ExportOptions>(exporting, (context, [runId], options) => {
    const refuse = (field: string, message: string): never => {
      throw new CliError('OPTIONS_CONFLICT', message, { field, exitCode: ExitCode.usage });
    };
    if (runId === undefined && options.model === undefined) refuse('RUN', 'a run is needed, or --model with a model');
    if (runId !== undefined && options.model !== undefined) refuse('--model', '--model names a model without a run: leave the run out');
    if (options.teacher !== undefined && options.model !== undefined) refuse('--teacher', '--teacher is for a run, and --model has none');
    return exportInto(context, runId ?? '', options);
  });
}

/** Exports, downloads and prints the result. @param runId empty: the options name a model */
export async function exportInto(context: Context, runId: string, options: ExportOptions): Promise<void> {
  const { connection, output, signal } = context;
  const force = options.force === true;
  const asFile = options.out.endsWith(GGUF_ENDING);
  const format = options.format ?? (asFile ? 'gguf' : '');
  if (asFile && format !== 'gguf') {
    throw new CliError('OPTION_INVALID', `--out ${options.out} names a GGUF file, --format ${format} makes a folder`, {
      field: '--out',
      exitCode: ExitCode.usage,
    });
  }
  const gguf = { option: '--out', force, what: 'a GGUF file that Espalier wrote', isOurs: isOurGguf };
  const line = new ShareLine(output, 'exporting');
  for (const path of clearUnfinished(dirname(resolve(options.out)))) line.note(unfinishedWords(path));
  const place = asFile ? undefined : await findExportPlace(options.out, force, signal);
  if (asFile) await requireFilePlace(options.out, gguf);
  const modelPath = options.model === undefined ? '' : await new HubFiles(context).model(options.model);
  try {
    const exported = await exportRun(
      connection,
      {
        runId,
        modelPath,
        teacherMark: options.teacher,
        format,
        form: options.form ?? '',
        dtype: options.dtype ?? '',
        multipleOf: options.multipleOf ?? 0,
        skipProof: !options.proof,
      },
      (share, waitingFor) => line.update(share / 2, waitingFor),
      signal,
    );
    const download = {
      digest: exported.digest,
      signal,
      onProgress: (share: number) => line.update(0.5 + share / 2),
      findServer: () => context.findServer(),
      onNews: (news: ConnectionNews) => line.note(connectionWords(news)),
    };
    const written =
      place === undefined
        ? await downloadExportedFile(connection, { ...download, name: GGUF_FILE, path: options.out })
        : await downloadExport(connection, { ...download, place });
    line.end();
    // One file leaves out what else an export's folder holds, as its README.
    const sized = asFile ? { ...exported, bytes: BigInt(written.files.reduce((sum, file) => sum + file.bytes, 0)) } : exported;
    output.result({ ...sized, folder: written.folder, files: written.files }, () => {
      writeExport(output, sized, options.out, modelPath === '' ? 'the masked student' : 'the model');
      const readable = exported.format === 'gguf' && !asFile ? join(options.out, GGUF_FILE) : options.out;
      const evaluated =
        modelPath === '' ? `${runId} --export ${exported.digest.slice(0, SHOWN_DIGITS)}` : `--model ${readable} --data TEXT`;
      output.text(`evaluate it with: espalier eval ${evaluated}`);
      output.table(
        ['FILE', 'SIZE', 'SHA-256'],
        written.files.map((file) => [file.name, bytes(file.bytes), file.digest]),
        [1],
        { FILE: 'cut', 'SHA-256': 'cut' },
      );
    });
  } finally {
    line.end();
  }
}

/** @param original what the export was compared with, in words */
function writeExport(output: Output, exported: v1.ModelExport, out: string, original: string): void {
  const { format, parameterCount, dtype, step, notes, proof } = exported;
  const size = `${count(parameterCount)} parameters, ${bytes(exported.bytes)}${dtype === '' ? '' : `, ${dtype}`}`;
  output.text(`${out}: ${format}, ${size}${exported.stateDigest === '' ? '' : `, step ${step}`}`);
  for (const note of notes) output.text(note);
  if (proof === undefined) output.text(`not compared with ${original} (--no-proof)`);
  for (const { loader, outcome, negativeLogLikelihood, message } of proof?.loaders ?? []) {
    const difference = negativeLogLikelihood - (proof?.negativeLogLikelihood ?? 0);
    const agreement = `differs from ${original} by ${difference.toExponential(1)} nats`;
    output.text(`${loader}: ${outcome === 'agrees' ? agreement : `${outcome}, ${message}`}`);
  }
}
