// The runs of a study, launched or not.
import { shareGone, targetWords } from '../../../../libs/comparison/src/index.js';
import type { GetStudyResponse } from '../generated/espalier/v1/study_service_pb.js';
import { headlineOf } from '../runs/columns.js';
import { decimal, NONE, percent } from '../ui/format.js';
import { Heads } from '../ui/heads.js';
import { Scroll } from '../ui/scroll.js';
import { Status } from '../ui/status.js';
import { Anchor } from '../ui/router.js';

export function StudyRuns({ runs }: { runs: GetStudyResponse['runs'] }) {
  return (
    <section class="card" aria-label="Runs of the study">
      <header>
        <h2>Runs</h2>
      </header>
      <Scroll label="Runs of the study">
        <table class="plain num">
          <Heads
            names={['Run', 'Variant', 'Target', 'Seed', 'State', 'Sparsity', 'Perplexity']}
            numbers={['Target', 'Seed', 'Sparsity', 'Perplexity']}
          />
          <tbody>
            {runs.map(({ variant, settings, run, refusal }, index) => (
              <tr key={index}>
                <td>{run === undefined ? NONE : <Anchor to={`/runs/${run.runId}`}>{run.runId}</Anchor>}</td>
                <td>{variant}</td>
                <td class="right">{targetWords(settings ?? {})}</td>
                <td class="right">{String(settings?.seed ?? NONE)}</td>
                <td>
                  {run !== undefined ? (
                    <Status run={run} />
                  ) : refusal === undefined ? (
                    <span class="soft">waits for its turn</span>
                  ) : (
                    <span class="trouble">
                      {refusal.message} <code>{refusal.code}</code>
                    </span>
                  )}
                </td>
                <td class="right">{run === undefined || run.step === 0n ? NONE : percent(shareGone(run))}</td>
                <td class="right">{decimal(run === undefined ? undefined : headlineOf(run)?.perplexity)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
