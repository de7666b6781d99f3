// verify and audit: is the record whole and true?
import type { Command } from 'commander';
import type { BundleReport } from '#audit';
import { v1 } from '#protocol';
import { existsSync, readFileSync } from 'node:fs';
import { CliError, ExitCode, invalidOption } from '../cli-error.js';
import type { Context } from '../context.js';
import type { Output } from '../output/output.js';
import { exists, writeFileWhole } from '../files.js';
import { absolutePath, number, stepRange } from '../options/parse.js';
import { bytes, count, decimal } from '../output/format.js';
import { ShareLine } from '../progress/share-line.js';
import { action, examples } from './command.js';

const RUN_ARGUMENT = ['<run>', 'its id or the first characters of it'] as const;

interface VerifyOptions {
  replay?: true | { from?: bigint; to?: bigint };
  tolerance?: number;
}

export function registerVerify(program: Command): void {
  const verify = program.command('verify').argument(...RUN_ARGUMENT)
    .summary('prove that the record of a run is whole and true')
    .description('Checks that no event is missing or altered (digest chain) and that every artifact is there with the bytes of its digest. With '
      + '--replay the recorded steps are computed again and the states compared bit by bit; a difference is narrowed to step and tensor.')
    .option('--replay [from..to]', 'compute again and compare; only these steps when given', (text: string) => stepRange(text))
    .option('--tolerance <difference>', 'with --replay on an engine of other numerics: the relative difference to accept', number);
  examples(verify, ['espalier verify k3f9'], ['espalier verify k3f9 --replay 100..200'], ['espalier verify k3f9 --replay --tolerance 1e-3', 'on another machine']);
  action<VerifyOptions>(verify, verifyRun);
  registerAudit(program);
}

async function verifyRun({ connection, output, signal }: Context, [runId]: string[], options: VerifyOptions): Promise<number> {
  const range = typeof options.replay === 'object' ? options.replay : {};
  const request: v1.VerifyRunRequest = {
    runId: runId!, replay: options.replay !== undefined, fromStep: range.from, toStep: range.to, tolerance: options.tolerance,
  };
  const line = new ShareLine(output, 'verifying');
  const checks = new Map<string, { good: number; bad: number }>();
  let summary: v1.VerifySummary | undefined;
  try {
    for await (const response of connection.stream(connection.history, connection.history.verifyRun, request, signal)) {
      line.update(response.doneShare);
      summary = response.summary ?? summary;
      if (response.check === '') continue;
      const tally = checks.get(response.check) ?? { good: 0, bad: 0 };
      tally[response.ok ? 'good' : 'bad']++;
      checks.set(response.check, tally);
      if (!response.ok) line.print(`${output.style('red', 'wrong')}  ${response.check}  ${response.subject}: ${response.detail}`);
    }
  } finally {
    line.end();
  }
  if (summary === undefined) throw new CliError('RESULT_MISSING', 'the server ended the check without a result; try again');
  output.result(summary, () => printSummary(output, summary, checks));
  return summary.ok ? ExitCode.ok : ExitCode.failed;
}

function printSummary(output: Output, summary: v1.VerifySummary, checks: Map<string, { good: number; bad: number }>): void {
  for (const [check, { good, bad }] of checks) {
    output.line(`${bad === 0 ? output.style('green', 'ok   ') : output.style('red', 'wrong')}  ${check}: ${count(good)} good${bad === 0 ? '' : `, ${count(bad)} bad`}`);
  }
  if (summary.firstDivergentStep !== undefined) {
    output.line(`first difference at step ${summary.firstDivergentStep}${summary.firstDivergentTensor === '' ? '' : ` in ${summary.firstDivergentTensor}`}: `
      + `at most ${decimal(summary.maxAbsDifference)} absolute, ${decimal(summary.maxRelDifference)} relative`);
  }
  const replayed = summary.replayedSteps > 0n ? `, ${count(summary.replayedSteps)} steps computed again` : '';
  output.line(`${summary.ok ? output.style('green', 'the record is whole and true') : output.style('red', `${summary.problems.length} problems found`)}: `
    + `${count(summary.events)} events, ${count(summary.artifacts)} artifacts${replayed}`);
}

function registerAudit(program: Command): void {
  const audit = program.command('audit').summary('one file that proves a run offline').description('Audit bundles: one file that proves a run offline, on any machine.');
  const exporting = audit.command('export').argument(...RUN_ARGUMENT)
    .summary('write the bundle of a run')
    .description('Writes events, digests, environment, recipe and data digests into one file.')
    .requiredOption('-o, --out <file>', 'where to write it', absolutePath)
    .option('--snapshots', 'with the state of every teacher')
    .option('--force', 'replace the file if it is there');
  examples(exporting, ['espalier audit export k3f9 --out k3f9.audit.tar']);
  action<{ out: string; snapshots?: boolean; force?: boolean }>(exporting, async ({ connection, output, signal }, [runId], options) => {
    if (!options.force && await exists(options.out)) {
      throw new CliError('FILE_EXISTS', `${options.out} exists already`, { field: '--out', exitCode: ExitCode.notAllowed, hint: 'another name, or --force to replace it' });
    }
    const responses = connection.stream(connection.history, connection.history.exportAudit, { runId: runId!, includeSnapshots: options.snapshots ?? false }, signal);
    const written = await writeFileWhole(options.out, (async function* () { for await (const { chunk } of responses) yield chunk; })());
    output.result({ file: options.out, bytes: written }, () => output.line(`${options.out}, ${bytes(written)}; check it with: espalier audit check ${options.out}`));
  });

  const check = audit.command('check').argument('<file>', 'a bundle')
    .summary('verify a bundle; needs no server')
    .description('Recomputes everything that the bundle says from its bytes: needs no server, store or network.')
    .option('--public-key <key>', 'require this signature: a PEM file or 64 hex digits');
  examples(check, ['espalier audit check k3f9.audit.tar'], ['espalier audit check k3f9.audit.tar --public-key lab.pem']);
  action<{ publicKey?: string }>(check, async (context, [file], { publicKey }) => {
    if (!existsSync(file!)) throw new CliError('FILE_NOT_FOUND', `there is no file ${file}`, { field: 'file', exitCode: ExitCode.notFound });
    const { checkAuditBundle, publicKeyHex } = await import('#audit'); // loaded when needed
    const key = publicKey === undefined ? {} : { publicKey: readKey(publicKey, publicKeyHex) };
    const report = await checkAuditBundle(file!, key);
    context.output.result(report, () => printBundle(context, report));
    return report.ok ? ExitCode.ok : ExitCode.failed;
  });
}

function readKey(given: string, publicKeyHex: (text: string) => string): string {
  try {
    return publicKeyHex(existsSync(given) ? readFileSync(given, 'utf8') : given);
  } catch {
    throw invalidOption('--public-key', given, 'a PEM file with an ed25519 public key, or its 64 hex digits are allowed');
  }
}

function printBundle({ output }: Context, report: BundleReport): void {
  for (const run of report.runs) output.line(`run ${run.runId}: ${count(run.events)} events, ${count(run.metricsEvents)} batches of metrics, ${count(run.steps)} steps`);
  for (const { fromStep, teacher, explanation } of report.instructions) output.line(`  from step ${fromStep}: ${teacher} (${explanation})`);
  for (const problem of report.problems) output.line(`${output.style('red', 'wrong')}  ${problem.check}  ${problem.subject}: ${problem.detail}`);
  const signature = report.signature === 'valid' ? `signed by ${report.publicKey}` : report.signature === 'none' ? 'not signed' : 'with an invalid signature';
  output.line(`${report.ok ? output.style('green', 'the bundle is whole and true') : output.style('red', `${report.problems.length} problems found`)}, ${signature}`);
}
