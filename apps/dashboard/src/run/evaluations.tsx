// The measurements of a run and its exports, and the engines that it was trained on.
import { historyService } from '../api/client.js';
import { useLoaded } from '../api/loaded.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { bytes, count, counted, decimal, NONE, time } from '../ui/format.js';
import { Scroll } from '../ui/parts.js';
import type { TabProps } from './tab-props.js';

export function EvaluationsTab({ run }: TabProps) {
  return (
    <div class="stack">
      <Evaluations run={run} />
      <Exports run={run} />
      <Attempts run={run} />
    </div>
  );
}

function Attempts({ run }: { run: Run }) {
  const { data: attempts } = useLoaded(
    `attempts ${run.runId}`,
    async (signal) =>
      (
        await historyService.readHistory(
          { runId: run.runId, types: ['EngineAttached', 'EngineLost', 'AttemptStarted'], pageSize: 1_000 },
          { signal },
        )
      ).events,
    `${run.attempt} ${run.restarts} ${run.engine}`,
  );
  return (
    <section class="card" aria-label="Engine and attempts">
      <header>
        <h2>Engine and attempts</h2>
        <span class="soft">
          {run.engine || 'no engine yet'}, {counted(run.restarts, 'restart')}, {counted(run.skippedSteps, 'skipped step')}
        </span>
      </header>
      <div class="in">
        {(attempts ?? []).map(({ revision, recordedAt, summary }) => (
          <p key={String(revision)}>
            <span class="soft num">{time(recordedAt)}</span> {summary}
          </p>
        ))}
      </div>
    </section>
  );
}

function Evaluations({ run }: { run: Run }) {
  return (
    <section class="card" aria-label="Evaluations">
      <header>
        <h2>Evaluations</h2>
      </header>
      <Scroll label="Evaluations">
        {run.evaluations.length === 0 ? (
          <p class="soft">No evaluation yet. A run with a validation text is evaluated when it completes.</p>
        ) : (
          <table class="plain num">
            <thead>
              <tr>
                <th>Model</th>
                <th>Measure</th>
                <th class="right">Value</th>
                <th class="right">Predictions or questions</th>
                <th class="right">At step</th>
                <th>Convention</th>
                <th>Recorded at</th>
              </tr>
            </thead>
            <tbody>
              {run.evaluations.map((one, index) => (
                <tr key={index}>
                  <td>
                    {one.subject.replace(/^(export:.{8}).*/, '$1')}
                    {one.teacherMark !== undefined && `, teacher #${one.teacherMark}`}
                    {one.headline && <span class="tag headline">headline</span>} {one.abandoned && <span class="soft">abandoned</span>}
                  </td>
                  <td>
                    {one.task} {one.metric}
                  </td>
                  <td class="right">
                    {decimal(one.value)}
                    {one.stderr !== undefined && <span class="soft"> ± {decimal(one.stderr)}</span>}
                  </td>
                  <td class="right">{count(one.n)}</td>
                  <td class="right">{count(one.step)}</td>
                  <td>{one.convention}</td>
                  <td>{time(one.evaluatedAt)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Scroll>
    </section>
  );
}

function Exports({ run }: { run: Run }) {
  return (
    <section class="card" aria-label="Exports">
      <header>
        <h2>Exports</h2>
      </header>
      <Scroll label="Exports">
        {run.exports.length === 0 ? (
          <p class="soft">
            No export yet. <code>npx espalier export {run.runId} --out pruned.gguf</code> writes one.
          </p>
        ) : (
          <table class="plain num">
            <thead>
              <tr>
                <th>Format</th>
                <th class="right">Parameters</th>
                <th class="right">Size</th>
                <th class="right">At step</th>
                <th>Proof</th>
                <th>Recorded at</th>
              </tr>
            </thead>
            <tbody>
              {run.exports.map((one) => (
                <tr key={one.digest}>
                  <td>
                    {one.format} {one.dtype}
                  </td>
                  <td class="right">{count(one.parameterCount)}</td>
                  <td class="right">{bytes(one.bytes)}</td>
                  <td class="right">{count(one.step)}</td>
                  <td>{one.proof?.loaders.map(({ loader, outcome }) => `${loader} ${outcome}`).join(', ') || NONE}</td>
                  <td>{time(one.exportedAt)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Scroll>
    </section>
  );
}
