// Answers EngineService by the slots of the pool. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import { LEVELS, withoutSecrets, type LogLine } from '#log';
import { timeAt } from '#files';
import { invalidField, unary, v1, type EspalierError, type engineV1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { Fleet, type FleetView } from '../fleets/fleet.js';
import type { FleetJob } from '../fleets/fleet-jobs.js';
import { DriverLease } from '../storage/driver-lease.js';
import { logsElsewhere, logTail } from '../storage/log-tail.js';
import { ACCESS_TOKEN, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import type { EngineSlot, SlotStatus } from '../engine-pool/engine-slot.js';
import { lookAt } from '../engine-pool/slot-description.js';
import { Callers } from './admission/callers.js';
import { dataSource } from './run-requests.js';
import { SpeedTables } from '../run-inputs/speed-tables.js';

const LOG_LINES_USUAL = 200;
const LOG_LINES_MAX = 1_000;
const LOG_TEXT_CHARACTERS_MAX = 2_000;

const STATUSES: Record<SlotStatus, v1.EngineStatus> = {
  notStarted: v1.EngineStatus.ENGINE_STATUS_NOT_STARTED,
  starting: v1.EngineStatus.ENGINE_STATUS_STARTING,
  idle: v1.EngineStatus.ENGINE_STATUS_IDLE,
  busy: v1.EngineStatus.ENGINE_STATUS_BUSY,
  notResponding: v1.EngineStatus.ENGINE_STATUS_NOT_RESPONDING,
  restarting: v1.EngineStatus.ENGINE_STATUS_RESTARTING,
  unreachable: v1.EngineStatus.ENGINE_STATUS_UNREACHABLE,
  attachedElsewhere: v1.EngineStatus.ENGINE_STATUS_ATTACHED_ELSEWHERE,
  standby: v1.EngineStatus.ENGINE_STATUS_STANDBY,
};

@Injectable()
export class EngineGrpc {
  constructor(
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(EngineJobs) private readonly jobs: EngineJobs,
    @Inject(Fleet) private readonly fleet: Pick<Fleet, 'view' | 'setMost' | 'cancel'>,
    @Inject(SpeedTables) private readonly tables: SpeedTables,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder'>,
    @Inject(ACCESS_TOKEN) private readonly ownToken: string | null,
  ) {}

  handlers(): v1.EngineServiceServer {
    return {
      listEngines: unary(async (): Promise<v1.ListEnginesResponse> => ({
        engines: await Promise.all(this.pool.slots.map((slot) => this.message(slot))),
        fleet: fleetMessage(this.fleet.view),
      })),
      scaleFleet: unary(({ maxEngines, drain }: v1.ScaleFleetRequest, _signal, call): Promise<v1.ScaleFleetResponse> => {
        this.lease.requireHeld();
        if (drain && maxEngines > 0) throw invalidField('FIELD_OUT_OF_RANGE', 'max_engines', `must be 0 with drain, is ${maxEngines}`);
        this.fleet.setMost(maxEngines, this.callers.contextOf(call).actor, { isDrained: drain });
        return Promise.resolve({ fleet: fleetMessage(this.fleet.view) });
      }),
      cancelFleetJobs: unary(async ({ ids }: v1.CancelFleetJobsRequest, _signal, call): Promise<v1.CancelFleetJobsResponse> => {
        this.lease.requireHeld();
        if (ids.length === 0) throw invalidField('FIELD_REQUIRED', 'ids', 'is empty: the ids of jobs are needed');
        await this.fleet.cancel(ids, this.callers.contextOf(call).actor);
        return {};
      }),
      getLog: unary((request: v1.GetLogRequest) => this.log(request)),
      measureSpeedTable: unary(({ data, ...request }: v1.MeasureSpeedTableRequest, signal) => {
        this.lease.requireHeld();
        return this.tables.measure(request, data === undefined ? null : dataSource(data), signal);
      }),
      listDevices: unary(async (): Promise<v1.ListDevicesResponse> => ({ devices: await this.devices() })),
    };
  }

  private async log({ lines, problemsOnly }: v1.GetLogRequest): Promise<v1.GetLogResponse> {
    if (lines > LOG_LINES_MAX)
      throw invalidField('FIELD_OUT_OF_RANGE', 'lines', `must be at most ${LOG_LINES_MAX.toLocaleString('en-US')}, is ${lines}`);
    const { dataFolder } = this.config;
    const all = (await logTail(dataFolder)).filter(({ level }) => !problemsOnly || level >= LEVELS.warn);
    return { lines: all.slice(-(lines || LOG_LINES_USUAL)).map((line) => this.logLine(line)), elsewhere: logsElsewhere(dataFolder) };
  }

  private logLine({ time, level, source, text }: LogLine): v1.LogLine {
    const shown = withoutSecrets(text, this.ownToken === null ? [] : [this.ownToken]).slice(0, LOG_TEXT_CHARACTERS_MAX);
    const word = level >= LEVELS.error ? 'error' : level >= LEVELS.warn ? 'warn' : 'info';
    return { time: time === undefined ? undefined : new Date(time), level: word, source, text: shown };
  }

  /** Engines of one machine list the same devices, so the list of one engine is used. */
  private async devices(): Promise<v1.Device[]> {
    const heard = async (): Promise<{ slot: EngineSlot; about: engineV1.DescribeEngineResponse }[]> => {
      const all = await Promise.all(this.pool.slots.map(async (slot) => ({ slot, about: await lookAt(slot) })));
      return all.flatMap(({ slot, about }) => (about === null ? [] : [{ slot, about }]));
    };
    let known = await heard();
    if (known.length === 0) {
      (await this.pool.consult()).close();
      known = await heard();
    }
    const machines = new Map(known.map(({ about }) => [about.bootId, about]));
    return [...machines.values()].flatMap(({ bootId, devices }) =>
      devices.map((device) => ({
        ...device,
        engines: known.filter(({ about }) => about.bootId === bootId && about.backend === device.name).map(({ slot }) => slot.name),
      })),
    );
  }

  private async message(slot: EngineSlot): Promise<v1.Engine> {
    const now = await lookAt(slot);
    const about = now ?? slot.about;
    const { status } = slot; // the status after looking
    const { live, problem, losses } = slot.supervisor;
    const isOurs = live !== null;
    const { holder, heldForMs } = isOurs || now === null ? { holder: undefined, heldForMs: 0 } : now;
    return {
      name: slot.name,
      local: !slot.isNamed,
      status: STATUSES[status],
      since: slot.since,
      doing: slot.isTaken ? slot.doing : '',
      runId: slot.runId,
      problem: failureMessage(problem),
      heldBy: holder === undefined ? '' : `process ${holder.pid} on ${holder.host}`,
      heldUntil: holder === undefined ? undefined : timeAt(Date.now() + heldForMs),
      waitingJobs: this.jobs.waitingAt(slot.name),
      losses,
      pid: isOurs || slot.isNamed ? (about?.pid ?? 0) : 0,
      backend: about?.backend ?? '',
      device: about?.device ?? '',
      instructionSet: about?.instructionSet ?? '',
      threads: slot.threads,
      memoryAvailableBytes: about?.memoryAvailableBytes ?? 0n,
      residentBytes: isOurs || slot.isNamed ? (about?.residentBytes ?? 0n) : 0n,
      engineVersion: about?.engineVersion ?? '',
      engineBuild: about?.build ?? '',
      joined: joinedMessage(slot),
    };
  }
}

function joinedMessage({ connector: { joined } }: EngineSlot): v1.JoinedEngine | undefined {
  if (joined === undefined) return undefined;
  const { host, peer, since, admittedAs, isConnected, transfer } = joined;
  const [modelBytesHere, modelBytes] = [BigInt(transfer?.bytesHere ?? 0), BigInt(transfer?.bytes ?? 0)];
  return { host, peer, since, admittedAs, connected: isConnected, modelBytesHere, modelBytes };
}

function fleetMessage(view: FleetView | null): v1.Fleet | undefined {
  if (view === null) return undefined;
  const { settings, most, limit, jobs, ended, strays, strayEngines, problem, fileProblem, notBefore, waitsFor } = view;
  return {
    name: settings.name,
    kind: settings.kind,
    maxEngines: most,
    jobs: jobs.map(jobMessage),
    ended: ended.map(jobMessage),
    strays: strays.map((job) => jobMessage({ ...job, hasJoined: false, lastLine: '' })),
    strayEngines: [...strayEngines],
    limit: limit === null ? undefined : { inPlaceOf: limit.inPlaceOf, drained: limit.isDrained, by: limit.by, at: new Date(limit.at) },
    problem: failureMessage(problem),
    fileProblem: failureMessage(fileProblem),
    notBefore: notBefore ?? undefined,
    waitsFor,
  };
}

function failureMessage(error: EspalierError | null): v1.Failure | undefined {
  return error === null ? undefined : { code: error.code, message: error.message, field: '' };
}

type ShownJob = Omit<FleetJob, 'isCancelled'>;
function jobMessage({ id, engine, state, reason, node, hasJoined, lastLine, account }: ShownJob): v1.FleetJob {
  return { id, engine, state, reason, node, joined: hasJoined, lastLine, account };
}
