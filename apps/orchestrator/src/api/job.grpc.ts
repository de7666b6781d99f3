// Answers the calls about jobs. A job does the work of a streaming call without a client that waits. There are no rules here.
import { Inject, Injectable } from '@nestjs/common';
import { enumValue, EspalierError, invalidField, unary, v1 } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { BackgroundJobs, type BackgroundJob, type JobResult, type Work } from '../run-services/background-jobs.js';
import { evaluateLadder } from '../run-services/ladder.js';
import { RunServices } from '../run-services/run-services.js';
import type { Progress } from '../run-services/work.js';
import { DriverLease } from '../storage/driver-lease.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { Verification } from '../verification/verification.js';
import { verifyRun } from '../verification/verify-run.js';
import { evaluationMessage, exportMessage } from '../views/run-message.js';
import { RunViews } from '../views/run-views.js';
import { Callers } from './admission/callers.js';

/** The names of the protocol's fields. */
const FIELDS = {
  evaluate: 'evaluate',
  evaluateTasks: 'evaluate_tasks',
  export: 'export',
  bench: 'bench',
  verify: 'verify',
  ladder: 'ladder',
};

@Injectable()
export class JobGrpc {
  constructor(
    @Inject(BackgroundJobs) private readonly jobs: BackgroundJobs,
    @Inject(RunServices) private readonly services: RunServices,
    @Inject(Verification) private readonly verification: Verification,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(Callers) private readonly callers: Callers,
  ) {}

  handlers(): Pick<v1.RunServiceServer, 'startJob' | 'listJobs' | 'cancelJob'> {
    const { jobs, views } = this;
    return {
      startJob: unary(async ({ work }: v1.StartJobRequest, _signal, call): Promise<v1.StartJobResponse> => {
        await this.storage.requireRoom();
        this.lease.requireHeld();
        if (work === undefined)
          throw invalidField('FIELD_REQUIRED', 'work', 'is needed: evaluate, evaluate_tasks, export, bench, verify or ladder');
        const by = this.callers.contextOf(call);
        const field = FIELDS[work.$case];
        const runId = await views.wholeRunId(work.value.runId, `${field}.run_id`);
        const job = await jobs
          .start(runId, work, by, (signal) => this.begin(work, runId, by, signal))
          .catch((error: unknown) => {
            throw inField(field, error);
          });
        return { job: message(job) };
      }),
      listJobs: unary(async ({ runId }: v1.ListJobsRequest): Promise<v1.ListJobsResponse> => ({
        jobs: jobs.all(runId === '' ? null : await views.wholeRunId(runId)).map(message),
      })),
      cancelJob: unary(async ({ jobId }: v1.CancelJobRequest, _signal, call): Promise<v1.CancelJobResponse> => {
        this.callers.contextOf(call); // which logs who cancels
        return Promise.resolve({ job: message(jobs.cancel(jobId)) });
      }),
    };
  }

  private begin(work: Work, runId: string, by: CallContext, signal: AbortSignal): AsyncGenerator<Progress<JobResult>> {
    const { services } = this;
    switch (work.$case) {
      case 'evaluate':
        return mapped(services.evaluateRun(work.value, runId, by, signal), ({ run, evaluation }) => ({
          evaluations: [evaluationMessage(run, evaluation)],
        }));
      case 'evaluateTasks':
        return mapped(services.evaluateTasks(work.value, runId, by, signal), ({ run, evaluations }) => ({
          evaluations: evaluations.map((one) => evaluationMessage(run, one)),
        }));
      case 'export':
        return mapped(services.exportRun(work.value, runId, by, signal), (made) => ({ export: exportMessage(made) }));
      case 'bench':
        return mapped(services.benchRun(work.value, runId, by, signal), (speed) => ({ speed }));
      case 'verify':
        return verdicts(verifyRun(this.verification, work.value, by, signal));
      case 'ladder':
        return mapped(evaluateLadder(services, work.value, runId, by, signal), () => ({}));
    }
  }
}

async function* mapped<T>(all: AsyncIterable<Progress<T>>, made: (result: T) => JobResult): AsyncGenerator<Progress<JobResult>> {
  for await (const news of all) yield 'result' in news ? { result: made(news.result) } : news;
}

/** The progress and result of a verification. One that finds problems is done, too; its summary lists them. */
async function* verdicts(all: AsyncIterable<v1.VerifyRunResponse>): AsyncGenerator<Progress<JobResult>> {
  for await (const { check, subject, doneShare, summary } of all)
    yield summary === undefined ? { doneShare, doing: `${check} of ${subject}` } : { result: { verified: summary } };
}

/** Returns the error with its fields named as fields of this request. */
function inField(field: string, error: unknown): unknown {
  if (!(error instanceof EspalierError) || error.violations.length === 0) return error;
  const violations = error.violations.map((one) => ({ ...one, field: `${field}.${one.field}` }));
  return new EspalierError(error.code, error.message, { violations, metadata: error.metadata, cause: error });
}

function message({ work, state, failure, endedAt, result, ...rest }: BackgroundJob): v1.Job {
  return {
    ...rest,
    request: { work },
    state: enumValue(v1.JobState, 'JOB_STATE_', state),
    failure: failure === null ? undefined : { code: failure.code, message: failure.message, field: failure.field },
    endedAt: endedAt ?? undefined,
    evaluations: result?.evaluations ?? [],
    export: result?.export,
    speed: result?.speed,
    verified: result?.verified,
  };
}
