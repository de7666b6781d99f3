// Shows the jobs of a run, which go on when this page is left. Their results are recorded in the run, except speeds.
import { May } from '../../api/caller.js';
import { runService, troubleOf } from '../../api/client.js';
import { useLoaded, useRepeated, useTrouble, type Loaded } from '../../api/loaded-data.js';
import { JobState, RunService, type Job } from '../../generated/espalier/v1/run_service_pb.js';
import { ago, bytes, count, decimal, NONE } from '../../ui/format.js';
import { Meter } from '../../ui/meter.js';
import { TroubleNote } from '../../ui/pending.js';
import { Heads } from '../../ui/heads.js';
import { Scroll } from '../../ui/scroll.js';
import { hasFailed, jobTitle, jobWords, resultWords } from './job-words.js';

const LOOK_AGAIN_MS = 1_000;
const MOST_SHOWN = 12;

export function useJobs(runId: string): Loaded<Job[]> {
  const loaded = useLoaded(`jobs ${runId}`, async (signal) => (await runService.listJobs({ runId }, { signal })).jobs);
  const isRunning = loaded.data?.some(({ state }) => state === JobState.RUNNING) === true;
  useRepeated(loaded.reload, LOOK_AGAIN_MS, isRunning);
  return loaded;
}

const TONES: Partial<Record<JobState, string>> = { [JobState.RUNNING]: 'live', [JobState.DONE]: 'good' };

/** The list of jobs; nothing where there are none. */
export function Jobs({ jobs: { data, trouble: missing, reload } }: { jobs: Loaded<Job[]> }) {
  const [trouble, setTrouble] = useTrouble();
  const cancel = async (jobId: string): Promise<void> => {
    setTrouble(undefined);
    try {
      await runService.cancelJob({ jobId });
    } catch (error) {
      setTrouble(troubleOf(error));
    }
    reload();
  };
  if (data === undefined || data.length === 0) return <TroubleNote trouble={missing} />;
  return (
    <section class="card" aria-label="Jobs">
      <header>
        <h2>Jobs</h2>
        <span class="soft">since the server&rsquo;s start, and those lost with the server before; they go on when this page is closed</span>
      </header>
      <ul class="in jobs">
        {data.slice(0, MOST_SHOWN).map((job) => (
          <li key={job.jobId}>
            <span class={`dot ${hasFailed(job) ? 'bad' : (TONES[job.state] ?? 'quiet')}`} />
            <div>
              <p>
                <b>{jobTitle(job)}</b> <span class="soft">{ago(job.endedAt ?? job.startedAt)}</span>
              </p>
              <p class={hasFailed(job) ? 'wrong' : 'num'}>
                {jobWords(job)}
                {job.state === JobState.DONE && resultWords(job) !== '' && `: ${resultWords(job)}`}
              </p>
            </div>
            {job.state === JobState.RUNNING && (
              <>
                <Meter share={job.doneShare} label={jobTitle(job)} />
                <May call={RunService.method.cancelJob} launchedBy={job.startedBy}>
                  <button type="button" onClick={() => void cancel(job.jobId)} aria-label={`Cancel: ${jobTitle(job)}`}>
                    Cancel
                  </button>
                </May>
              </>
            )}
          </li>
        ))}
      </ul>
      <TroubleNote trouble={trouble ?? missing} />
    </section>
  );
}

export function SpeedTable({ job }: { job: Job }) {
  const { dense, compact, rounds = 0, computeDtype, format } = job.speed ?? {};
  const title = jobTitle(job);
  const asked = job.request?.work.case === 'bench' ? job.request.work.value : undefined;
  const sequences = asked?.sequences || 1;
  return (
    <>
      <p class="in speed">
        <b>{title}</b>, {ago(job.endedAt)}: {resultWords(job)}.{' '}
        <span class="soft">
          {count(rounds)} rounds, both in {computeDtype}; parameters of{' '}
          {format === '' ? 'the export that was measured' : `an export as ${format}`}.
        </span>
      </p>
      <Scroll label={title}>
        <table class="plain num">
          <Heads
            names={['Model', 'Parameters', 'Weights read', 'Prefill', 'Decode']}
            numbers={['Parameters', 'Weights read', 'Prefill', 'Decode']}
          />
          <tbody>
            {[
              { name: 'intact', one: dense },
              { name: 'pruned', one: compact },
            ].map(({ name, one }) => (
              <tr key={name}>
                <td>{name}</td>
                <td class="right">{one === undefined ? NONE : count(one.parameterCount)}</td>
                <td class="right">{one === undefined ? NONE : bytes(one.weightBytes)}</td>
                <td class="right">{one === undefined ? NONE : `${decimal(one.prefillSeconds * 1e3)} ms`}</td>
                <td class="right">{one === undefined ? NONE : `${count(sequences / one.passSeconds)} tokens/s`}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}
