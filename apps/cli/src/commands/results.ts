// eval and export: what a run has come to.
import type { Command } from 'commander';
import { connectionWords } from '../connection/lasting-stream.js';
import { downloadExport } from '../download-export.js';
import { findExportPlace } from '../export-folder.js';
import { evaluateRun, exportRun } from '../operations.js';
import { absolutePath, wholeNumber, windowTokens } from '../options/parse.js';
import { measured, subjectWords } from '../output/evaluation-words.js';
import { bytes, count, decimal } from '../output/format.js';
import { ShareLine } from '../progress/share-line.js';
import { action, examples, RUN_ARGUMENT } from './command.js';

interface EvaluateOptions {
  teacher?: number;
  intact?: boolean;
  export?: string;
  data?: string;
  window?: number;
}

export function registerResults(program: Command): void {
  registerEvaluate(program);
  registerExport(program);
}

function registerEvaluate(program: Command): void {
  const evaluate = program
    .command('eval')
    .argument(...RUN_ARGUMENT)
    .summary('perplexity of a run, one of its teachers, an export, or the intact model')
    .description('Evaluates the last state of a run on its validation text, with deterministic masks; recorded in its history.')
    .option('--teacher <mark>', 'this teacher instead', wholeNumber)
    .option('--intact', 'the model before pruning instead')
    .option('--export <digest>', 'an exported model of the run instead (4 or more digits of its digest)')
    .option('--data <path>', 'on other text', absolutePath)
    .option('--window <tokens>', 'length of the windows that perplexity is taken over', windowTokens);
  examples(evaluate, ['espalier eval k3f9'], ['espalier eval k3f9 --intact'], ['espalier eval k3f9 --teacher 30 --data other.jsonl']);
  action<EvaluateOptions>(evaluate, async ({ connection, output, signal }, [runId], options) => {
    const line = new ShareLine(output, 'evaluating');
    try {
      const evaluation = await evaluateRun(
        connection,
        {
          runId: runId!,
          teacherMark: options.teacher,
          intact: options.intact ?? false,
          exportDigest: options.export ?? '',
          dataPath: options.data ?? '',
          window: options.window ?? 0,
        },
        (share, waitingFor) => line.update(share, waitingFor),
        signal,
      );
      line.end();
      const { metric, value, n, convention } = measured(evaluation);
      output.result(evaluation, () => {
        output.text(
          `${metric} ${output.style('bold', decimal(value))} (${subjectWords(evaluation)}, step ${evaluation.step}, ${convention}, ` +
            `over ${count(n)})`,
        );
      });
    } finally {
      line.end();
    }
  });
}

/** As digests are shown elsewhere; the first 4 are enough while no other begins so. */
const SHOWN_DIGITS = 12;

interface ExportOptions {
  out: string;
  teacher?: number;
  form: string;
  dtype?: string;
  force?: boolean;
}

function registerExport(program: Command): void {
  const exporting = program
    .command('export')
    .argument(...RUN_ARGUMENT)
    .summary('write the pruned model as a folder')
    .description(
      'Makes a model folder of the last state of a run, or of one of its teachers, and writes it here. Every file is checked against ' +
        'its digest, and the folder appears only when it is complete. "compacted" leaves out what was pruned and is the smaller model, ' +
        'which only Espalier loads; "masked" is an ordinary Hugging Face folder of the source architecture in its full size, with what ' +
        'was pruned set to zero: whatever loads the source loads it.',
    )
    .requiredOption('-o, --out <folder>', 'where to write it', absolutePath)
    .option('--teacher <mark>', 'this teacher instead of the last state', wholeNumber)
    .option('--form <form>', 'compacted (loads only in Espalier) or masked (loads wherever the source does)', 'compacted')
    .option('--dtype <type>', 'bf16, f16 or f32 (default: as the original)')
    .option('--force', 'replace an earlier export there; any other folder is left alone');
  examples(
    exporting,
    ['espalier export k3f9 --out pruned/'],
    ['espalier export k3f9 --teacher 20 --form masked --dtype f16 --out pruned-20/'],
  );
  action<ExportOptions>(exporting, async (context, [runId], options) => {
    const { connection, output, signal } = context;
    const place = await findExportPlace(options.out, options.force === true, signal);
    const line = new ShareLine(output, 'exporting');
    try {
      const exported = await exportRun(
        connection,
        { runId: runId!, teacherMark: options.teacher, form: options.form, dtype: options.dtype ?? '' },
        (share, waitingFor) => line.update(share / 2, waitingFor),
        signal,
      );
      const written = await downloadExport(connection, {
        digest: exported.digest,
        place,
        signal,
        onProgress: (share) => line.update(0.5 + share / 2),
        findServer: () => context.findServer(),
        onNews: (news) => line.note(connectionWords(news)),
      });
      line.end();
      output.result({ ...exported, folder: written.folder, files: written.files }, () => {
        const { form, parameterCount, dtype, step } = exported;
        const size = `${count(parameterCount)} parameters, ${bytes(exported.bytes)}${dtype === '' ? '' : `, ${dtype}`}`;
        output.text(`${options.out}: ${form}, ${size}, step ${step}`);
        output.text(`evaluate it with: espalier eval ${runId} --export ${exported.digest.slice(0, SHOWN_DIGITS)}`);
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
  });
}
