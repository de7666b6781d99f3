// Shows whether the record of a run is complete and true. The server checks it on request; the browser remembers the result, its time and
// its revision.
import { useState } from 'preact/hooks';
import { replayWords } from '../../../../../libs/comparison/src/index.js';
import { May } from '../../api/caller.js';
import { historyService, troubleOf } from '../../api/client.js';
import { HistoryService } from '../../generated/espalier/v1/history_service_pb.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { AuditBundle } from './audit-bundle.js';
import { Replay } from './replay.js';
import { Dialog } from '../../ui/dialog.js';

interface Result {
  at: number;
  revision: string;
  ok: boolean;
  events: string;
  problems: string[];
}
const keyOf = (runId: string): string => `espalier.verified.${runId}`;

function remembered(runId: string): Result | null {
  try {
    return JSON.parse(localStorage.getItem(keyOf(runId)) ?? 'null') as Result | null;
  } catch {
    return null;
  }
}

export function Integrity({ run: { runId, revision, replays, step, forkedAtStep } }: { run: Run }) {
  const [result, setResult] = useState(remembered(runId));
  const [share, setShare] = useState<number | null>(null);
  const [isShown, show] = useState(false);
  const check = async (): Promise<void> => {
    setShare(0);
    let next: Result;
    try {
      next = { at: Date.now(), revision: String(revision), ok: false, events: '0', problems: ['the check did not come to its end'] };
      for await (const { doneShare, summary } of historyService.verifyRun({ runId })) {
        setShare(doneShare);
        if (summary !== undefined) next = { ...next, ok: summary.ok, events: String(summary.events), problems: summary.problems };
      }
      localStorage.setItem(keyOf(runId), JSON.stringify(next));
    } catch (error) {
      next = { at: Date.now(), revision: String(revision), ok: false, events: '0', problems: [troubleOf(error).message] };
    }
    setResult(next);
    setShare(null);
  };
  const words =
    share !== null
      ? `checking, ${Math.round(share * 100)} %`
      : result === null
        ? 'not checked'
        : !result.ok
          ? 'problems found'
          : result.revision === String(revision)
            ? 'verified'
            : `verified up to ${result.revision}`;
  const tone = result === null || share !== null ? 'quiet' : result.ok ? 'good' : 'bad';
  return (
    <>
      <button onClick={() => show(true)} class={`status ${tone}`}>
        <span class={`dot ${tone}`} /> {words}
      </button>
      {isShown && (
        <Dialog title="Integrity of the record" close={() => show(false)}>
          <form method="dialog">
            <header>
              <h2>Integrity of the record</h2>
            </header>
            <div class="in" aria-live="polite">
              <p>
                The server checks the chain of digests, every event against its schema, steps, masks and lineage, and every artifact against
                its digest. Losses and perplexities rest on the engines that computed them, except for steps that were computed twice:{' '}
                {replays === undefined ? 'none' : replayWords(replays, step - forkedAtStep)}.
              </p>
              <br />
              {result === null ? (
                <p class="soft">This browser has not asked for a check yet.</p>
              ) : (
                <p>
                  {result.ok ? 'Everything holds' : 'Problems were found'}: {result.events} events up to revision {result.revision}. This
                  browser asked for it on {new Date(result.at).toLocaleString('en-GB')}.
                </p>
              )}
              {result?.problems.map((problem) => (
                <p class="trouble" key={problem}>
                  {problem}
                </p>
              ))}
              <br />
              <Replay runId={runId} />
              <AuditBundle runId={runId} />
            </div>
            <footer>
              <button type="button" onClick={() => show(false)}>
                Close
              </button>
              <May call={HistoryService.method.verifyRun}>
                <button type="button" class="main" disabled={share !== null} onClick={() => void check()}>
                  {share === null ? 'Check now' : `Checking, ${Math.round(share * 100)} %`}
                </button>
              </May>
            </footer>
          </form>
        </Dialog>
      )}
    </>
  );
}
