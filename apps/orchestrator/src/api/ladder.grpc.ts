// Answers the calls about a run's ladder by the server's job. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import { enumValue, unary, v1 } from '#protocol';
import { Ladders, type LadderProgress } from '../run-services/ladders.js';
import { DriverLease } from '../storage/driver-lease.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { RunViews } from '../views/run-views.js';
import { Callers } from './admission/callers.js';

@Injectable()
export class LadderGrpc {
  constructor(
    @Inject(Ladders) private readonly ladders: Ladders,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(Callers) private readonly callers: Callers,
  ) {}

  handlers(): Pick<v1.RunServiceServer, 'startLadder' | 'getLadder' | 'cancelLadder'> {
    const { ladders, views } = this;
    return {
      startLadder: unary(async (request: v1.StartLadderRequest, _signal, call): Promise<v1.StartLadderResponse> => {
        await this.storage.requireRoom();
        this.lease.requireHeld();
        const runId = await views.wholeRunId(request.runId);
        return { job: message(runId, await ladders.start(runId, this.callers.contextOf(call), request.every || 1)) };
      }),
      getLadder: unary(async (request: v1.GetLadderRequest): Promise<v1.GetLadderResponse> => {
        const runId = await views.wholeRunId(request.runId);
        return { job: message(runId, ladders.progressOf(runId)) };
      }),
      cancelLadder: unary(async (request: v1.CancelLadderRequest, _signal, call): Promise<v1.CancelLadderResponse> => {
        this.callers.contextOf(call); // which logs who cancels
        const runId = await views.wholeRunId(request.runId);
        return { job: message(runId, ladders.cancel(runId)) };
      }),
    };
  }
}

function message(runId: string, progress: LadderProgress | undefined): v1.LadderJob | undefined {
  if (progress === undefined) return undefined;
  const { state, failure, ...rest } = progress;
  return {
    ...rest,
    runId,
    state: enumValue(v1.LadderState, 'LADDER_STATE_', state),
    failure: failure === null ? undefined : { code: failure.code, message: failure.message, field: '' },
  };
}
