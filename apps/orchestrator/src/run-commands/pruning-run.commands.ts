// The commands that clients send. The driver's own changes go to the repository directly, since clients may not send them.
import { Command } from '@nestjs/cqrs';
import type { engineV1 } from '#protocol';
import type { DataSource } from '../run-inputs/named-data.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import type { RunSettings } from '../pruning-run/record/pruning-run.events.js';
import type { Describe } from '../pruning-run/aggregate/describing.js';
import type { StartingPoint } from '../pruning-run/aggregate/starting-points.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';

/** The run and the revision that shows the command's effect. */
export interface Changed {
  runId: string;
  revision: number;
  /** Whether the run already was as the command wants it, so that nothing was recorded. */
  alreadyDone: boolean;
  /** The memory that a launched run will take. */
  memory?: engineV1.PlanMemoryResponse;
}

export class LaunchRun extends Command<Changed> {
  constructor(
    readonly request: {
      requestId: string;
      name: string;
      tags?: string[] | undefined;
      note?: string | undefined;
      modelPath: string;
      data: DataSource;
      settings: RequestedSettings;
    },
    readonly by: CallContext,
    readonly signal: AbortSignal,
  ) {
    super();
  }
}

export class ForkRun extends Command<Changed> {
  constructor(
    readonly request: {
      requestId: string;
      name: string;
      tags?: string[] | undefined;
      note?: string | undefined;
      parentRunId: string;
      from: StartingPoint;
      overrides: Partial<RunSettings>;
      data: DataSource | null;
    },
    readonly by: CallContext,
    readonly signal: AbortSignal,
  ) {
    super();
  }
}

export class ResumeRun extends Command<Changed> {
  constructor(
    readonly runId: string,
    readonly from: StartingPoint,
    readonly acceptOtherNumerics: boolean,
    readonly by: CallContext,
  ) {
    super();
  }
}

export class PauseRun extends Command<Changed> {
  constructor(
    readonly runId: string,
    readonly by: CallContext,
  ) {
    super();
  }
}

export class CancelRun extends Command<Changed> {
  constructor(
    readonly runId: string,
    readonly reason: string,
    readonly by: CallContext,
  ) {
    super();
  }
}

export class PrioritizeRun extends Command<Changed> {
  constructor(
    readonly runId: string,
    readonly priority: number,
    readonly by: CallContext,
  ) {
    super();
  }
}

export class DescribeRun extends Command<Changed> {
  constructor(
    readonly runId: string,
    readonly description: Omit<Describe, 'kind'>,
    readonly by: CallContext,
  ) {
    super();
  }
}
