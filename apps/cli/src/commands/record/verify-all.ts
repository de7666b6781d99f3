// The command `verify --all`, which checks the whole store.
import type { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { bytes, count, howMany, problemsFound } from '../../output/format.js';
import { ShareLine } from '../../progress/share-line.js';

export async function verifyAll({ connection, output, signal }: Context): Promise<number> {
  const line = new ShareLine(output, 'verifying');
  let summary: v1.VerifyAllSummary | undefined;
  try {
    for await (const response of connection.stream(connection.history, connection.history.verifyAll, {}, signal)) {
      line.update(response.doneShare);
      summary = response.summary ?? summary;
      if (response.summary !== undefined) continue;
      if (!response.ok) line.print(`${output.style('red', 'wrong')}  ${response.check}  ${response.subject}: ${response.detail}`);
      else if (['unknown', 'incoming'].includes(response.check))
        line.print(`${output.style('yellow', 'unknown')}  ${response.subject}: ${response.detail}`);
    }
  } finally {
    line.end();
  }
  if (summary === undefined) throw new CliError('RESULT_MISSING', 'the server ended the check without a result; try again');
  const { ok, events, runs, runsWithProblems, studies, artifacts, artifactBytes, unknown, problems, quarantined, quarantinedBytes } =
    summary;
  output.result(summary, () => {
    const verdict = ok ? output.style('green', 'the store is whole and true') : output.style('red', problemsFound(problems.length));
    const withProblems = runsWithProblems > 0n ? `, ${count(runsWithProblems)} of them with problems` : '';
    const ofStudies = studies > 0n ? `, ${howMany(studies, 'study', 'studies')}` : '';
    output.text(
      `${verdict}: ${howMany(events, 'event')}, ${howMany(runs, 'run')}${withProblems}${ofStudies}, ` +
        `${howMany(artifacts, 'artifact')} (${bytes(artifactBytes)})`,
    );
    if (unknown.length > 0) output.text(`${howMany(unknown.length, 'file')} that no event names; see: espalier gc --dry-run`);
    if (quarantined > 0n)
      output.text(`${howMany(quarantined, 'artifact')} (${bytes(quarantinedBytes)}) in the quarantine, since no event needs them`);
  });
  return ok ? ExitCode.ok : ExitCode.failed;
}
