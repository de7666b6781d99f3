// Writes, signs and checks the file that proves a run offline. The server makes the file; it is signed and checked here.
import { createPrivateKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { BundleReport } from '#audit';
import { readUserFile } from '#files';
import { visibleMessage } from '#protocol';
import { ExitCode, invalidOption } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { namedFile, requireFilePlace, writeFileWhole } from '../../output/result-files.js';
import { absolutePath } from '../../options/parse.js';
import { bytes, howMany, problemsFound, shortDigest } from '../../output/format.js';
import { restsOnEngines } from './verify.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

interface ExportOptions {
  out: string;
  snapshots?: boolean;
  sign?: string;
  force?: boolean;
}

export function registerAudit(program: Command): void {
  const audit = program
    .command('audit')
    .summary('one file that proves a run offline')
    .description('Audit bundles: one file that proves a run offline, on any machine.');
  const exporting = audit
    .command('export')
    .argument(...RUN_ARGUMENT)
    .summary('write the bundle of a run')
    .description('Writes events, digests, environment, recipe and data digests into one file.')
    .requiredOption('-o, --out <file>', 'where to write it', absolutePath)
    .option('--snapshots', 'with the state of every teacher')
    .option('--sign <key>', 'sign it: a PEM file with an ed25519 private key (openssl genpkey -algorithm ed25519)')
    .option('--force', 'replace an earlier bundle of that name');
  examples(
    exporting,
    ['espalier audit export k3f9 --out k3f9.audit.tar'],
    ['espalier audit export k3f9 --sign lab-key.pem --out k3f9.audit.tar'],
  );
  action<ExportOptions, [string]>(exporting, async ({ connection, output, signal }, [runId], options) => {
    const key = options.sign === undefined ? undefined : await readPrivateKey(options.sign);
    const { isAuditBundle } = await import('#audit'); // loaded only when needed
    await requireFilePlace(options.out, { option: '--out', force: options.force === true, what: 'an audit bundle', isOurs: isAuditBundle });
    const responses = connection.stream(
      connection.history,
      connection.history.exportAudit,
      { runId, includeSnapshots: options.snapshots ?? false },
      signal,
    );
    const chunks = (async function* () {
      for await (const { chunk } of responses) yield chunk;
    })();
    const written = await writeFileWhole(options.out, chunks, async (incoming) => {
      if (key !== undefined) await (await import('#audit')).signAuditBundle(incoming, key);
    });
    output.result({ file: options.out, bytes: written, signed: key !== undefined }, () =>
      output.line(`${options.out}, ${bytes(written)}; check it with: espalier audit check ${options.out}`),
    );
  });

  const check = audit
    .command('check')
    .argument('<file>', 'a bundle')
    .summary('verify a bundle; needs no server')
    .description('Recomputes all facts of the bundle from its bytes: needs no server, store or network.')
    .option('--public-key <key>', 'require this signature: a PEM file or 64 hex digits')
    .option('--instructions', 'also which teacher instructed from which step on, and why');
  examples(check, ['espalier audit check k3f9.audit.tar'], ['espalier audit check k3f9.audit.tar --public-key lab.pem']);
  action<{ publicKey?: string; instructions?: boolean }, [string]>(
    check,
    async (context, [file], { publicKey, instructions = false }) => {
      const { checkAuditBundle, publicKeyHex } = await import('#audit'); // loaded only when needed
      const key = publicKey === undefined ? {} : { publicKey: await readKey(publicKey, publicKeyHex) };
      const report = await namedFile('file', checkAuditBundle(file, { ...key, signal: context.signal }));
      context.output.result(report, () => printBundle(context, visibleMessage(report), instructions));
      return report.ok ? ExitCode.ok : ExitCode.failed;
    },
    { isVerdict: true },
  );
}

const KEY_BYTES_MAX = 64 << 10;

/** Reads the key before anything is written, because a bundle with a bad key would be useless. */
async function readPrivateKey(path: string): Promise<string> {
  const pem = (await namedFile('--sign', readUserFile(path, KEY_BYTES_MAX))).toString('utf8');
  try {
    if (createPrivateKey(pem).asymmetricKeyType === 'ed25519') return pem;
  } catch {
    // the error below says that the key is not an ed25519 key
  }
  throw invalidOption('--sign', path, 'a PEM file with an ed25519 private key is allowed');
}

async function readKey(given: string, publicKeyHex: (text: string) => string): Promise<string> {
  const key = existsSync(given) ? (await namedFile('--public-key', readUserFile(given, KEY_BYTES_MAX))).toString('utf8') : given;
  try {
    return publicKeyHex(key);
  } catch {
    throw invalidOption('--public-key', given, 'a PEM file with an ed25519 public key, or its 64 hex digits are allowed');
  }
}

/** Prints the report. The verdict comes first, because the rest may be long. */
export function printBundle({ output }: Pick<Context, 'output'>, report: BundleReport, withInstructions: boolean): void {
  const { ok, problems, instructions } = report;
  output.text(`${ok ? output.style('green', 'the bundle is whole and true') : output.style('red', problemsFound(problems.length))},`);
  output.line(signatureWords(report));
  for (const problem of problems)
    output.indented(`${output.style('red', 'wrong')}  `, 7, `${problem.check}  ${problem.subject}: ${problem.detail}`);
  for (const run of report.runs)
    output.text(
      `run ${run.runId}: ${howMany(run.events, 'event')}, ${howMany(run.metricsEvents, 'batch', 'batches')} of metrics, ` +
        howMany(run.steps, 'step'),
    );
  const own = report.runs.find(({ runId }) => runId === report.manifest?.runId);
  if (ok && own !== undefined) output.text(restsOnEngines(own.replays, own.ownSteps));
  if (!withInstructions) {
    if (instructions.length > 0) output.text(`${howMany(instructions.length, 'assignment')} of teachers (--instructions shows them)`);
    return;
  }
  for (const { fromStep, teacher, explanation } of instructions)
    output.indented('  ', 2, `from step ${fromStep}: ${teacher.replace(/[0-9a-f]{64}/, shortDigest)} (${explanation})`);
}

function signatureWords({ signature, publicKey }: BundleReport): string {
  if (signature === 'valid') return `signed by ${publicKey}`;
  return signature === 'none' ? 'not signed' : 'with an invalid signature';
}
