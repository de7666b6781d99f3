// Shows the measurements of a run and its exports, the jobs that make more of them, and the engines that trained the run.
import { useState } from 'preact/hooks';
import { numericsDifference } from '../../../../../libs/comparison/src/index.js';
import { May } from '../../api/caller.js';
import { historyService } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import { BenchForm } from '../../forms/bench-form.js';
import { EvaluateForm } from '../../forms/evaluate-form.js';
import { ExportForm } from '../../forms/export-form.js';
import { RunService, type Job, type Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count, counted, decimal, time } from '../../ui/format.js';
import { Heads } from '../../ui/heads.js';
import { Scroll } from '../../ui/scroll.js';
import { Exports } from './exports.js';
import { Jobs, SpeedTable, useJobs } from './jobs.js';
import type { TabProps } from '../tab-props.js';

type OpenDialog = 'evaluate' | 'export' | 'bench';

export function EvaluationsTab({ run }: TabProps) {
  const jobs = useJobs(run.runId);
  const [asked, setAsked] = useState<OpenDialog | null>(null);
  const close = (): void => setAsked(null);
  const form = {
    run,
    close,
    done: () => {
      close();
      jobs.reload();
    },
  };
  return (
    <div class="stack">
      <Jobs jobs={jobs} />
      <Evaluations run={run} add={() => setAsked('evaluate')} />
      <Exports run={run} add={() => setAsked('export')} />
      <Speed jobs={jobs.data ?? []} mayMeasure={run.stateDigest !== ''} add={() => setAsked('bench')} />
      <Attempts run={run} />
      {asked === 'evaluate' && <EvaluateForm {...form} />}
      {asked === 'export' && <ExportForm {...form} />}
      {asked === 'bench' && <BenchForm {...form} />}
    </div>
  );
}

function Speed({ jobs, mayMeasure, add }: { jobs: readonly Job[]; mayMeasure: boolean; add: () => void }) {
  const measured = jobs.filter(({ speed }) => speed !== undefined);
  return (
    <section class="card" aria-label="Speed">
      <header>
        <h2>Speed</h2>
        <span class="soft">measured in turns with the intact model; kept until the server stops</span>
        {mayMeasure && (
          <May call={RunService.method.startJob}>
            <button class="at-end" onClick={add}>
              Measure
            </button>
          </May>
        )}
      </header>
      {measured.length === 0 ? <p class="in soft">Not measured yet.</p> : measured.map((job) => <SpeedTable key={job.jobId} job={job} />)}
    </section>
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

function Evaluations({ run, add }: { run: Run; add: () => void }) {
  const shown = [...run.modelEvaluations, ...run.evaluations]; // the model before pruning also as it was measured without a run
  return (
    <section class="card" aria-label="Evaluations">
      <header>
        <h2>Evaluations</h2>
        <span class="soft">perplexity on any text, and public tasks</span>
        {run.stateDigest !== '' && (
          <May call={RunService.method.startJob}>
            <button class="at-end" onClick={add}>
              Evaluate
            </button>
          </May>
        )}
      </header>
      <Scroll label="Evaluations">
        {shown.length === 0 ? (
          <p class="soft">No evaluation yet. A run with a validation text is evaluated when it completes.</p>
        ) : (
          <table class="plain num">
            <Heads
              names={['Model', 'Measure', 'Value', 'Predictions or questions', 'At step', 'Convention', 'Recorded at']}
              numbers={['Value', 'Predictions or questions', 'At step']}
            />
            <tbody>
              {shown.map((one, index) => (
                <tr key={index}>
                  <td>
                    {one.subject.replace(/^(export:.{8}).*/, '$1')}
                    {one.teacherMark !== undefined && `, teacher #${one.teacherMark}`}
                    {one.headline && ' '}
                    {one.headline && <span class="tag headline">headline</span>} {one.abandoned && <span class="soft">abandoned</span>}
                    {one.numericsFingerprint !== '' && (
                      <span class="soft" title={numericsDifference(run.numericsFingerprint, one.numericsFingerprint)}>
                        {' '}
                        other numerics than the training's
                      </span>
                    )}
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
