// The command check, which checks an export on a disk, even long after it was written.
import type { Command } from 'commander';
import { checkExport } from '../../exports/check-export.js';
import { CliError, ExitCode } from '../../cli-error.js';
import { namedFile } from '../../output/result-files.js';
import { absolutePath } from '../../options/parse.js';
import { bytes, howMany } from '../../output/format.js';
import { action, examples } from '../command.js';

const DIGEST = /^[0-9a-f]{4,64}$/;

export function registerCheck(program: Command): void {
  const check = program
    .command('check')
    .argument('<path>', 'a folder that `export` wrote, or a GGUF file', absolutePath)
    .summary('verify an export on a disk; needs no server')
    .description(
      'Reads every byte of an export and compares it with the digests that were written with it. Needs no server, store or network. ' +
        'A user who may change the files may change these digests too: --digest compares with one that is kept elsewhere, such as in the ' +
        "history of the run (of a folder the export's, of a GGUF file that of model.gguf).",
    )
    .option('--digest <digest>', 'the digest that it must have (4 or more digits of it)');
  examples(check, ['espalier check pruned/'], ['espalier check pruned.gguf --digest 3fa9c1']);
  action<{ digest?: string }, [string]>(
    check,
    async ({ output, signal }, [path], { digest }) => {
      const wanted = digest?.toLowerCase();
      if (wanted !== undefined && !DIGEST.test(wanted))
        throw new CliError('OPTION_INVALID', `--digest ${digest} is not a digest: 4 to 64 hexadecimal digits are allowed`, {
          field: '--digest',
          exitCode: ExitCode.usage,
        });
      const report = await namedFile('path', checkExport(path, signal));
      const isOther = wanted !== undefined && !report.digest.startsWith(wanted);
      const ok = report.ok && !isOther;
      output.result({ ...report, ok }, () => {
        const problems = report.files.filter(({ problem }) => problem !== '');
        for (const { name, problem } of problems) output.text(`${name}: ${problem}`);
        if (isOther) output.text(`its digest is ${report.digest}, not ${wanted}`);
        const size = report.files.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
        output.text(
          ok
            ? `${path} is as it was written: ${howMany(report.files.length, 'file')}, ${bytes(size)}, digest ${report.digest}`
            : `${path} is not as it was written: ${howMany(problems.length + (isOther ? 1 : 0), 'problem')}`,
        );
      });
      return ok ? ExitCode.ok : ExitCode.failed;
    },
    { isVerdict: true },
  );
}
