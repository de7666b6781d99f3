// EngineService: it answers with the slots of the pool and contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import { unary, v1, type engineV1 } from '#protocol';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { EngineSlot, SlotStatus } from '../engine-pool/engine-slot.js';

/** An engine that does not answer in this time is shown with its last answer. */
const LOOK_TIMEOUT_MS = 1_500;

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
  ) {}

  handlers(): v1.EngineServiceServer {
    return {
      listEngines: unary(async (): Promise<v1.ListEnginesResponse> => ({
        engines: await Promise.all(this.pool.slots.map((slot) => this.message(slot))),
      })),
      listDevices: unary(async (): Promise<v1.ListDevicesResponse> => ({ devices: await this.devices() })),
    };
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
    const { status } = slot; // as it is after looking
    const { live, problem, losses } = slot.supervisor;
    const isOurs = live !== null;
    const holder = isOurs ? undefined : now?.holder;
    return {
      name: slot.name,
      local: !slot.isNamed,
      status: STATUSES[status],
      since: slot.since,
      doing: slot.isTaken ? slot.doing : '',
      runId: slot.runId,
      problem: problem === null ? undefined : { code: problem.code, message: problem.message, field: '' },
      heldBy: holder === undefined ? '' : `process ${holder.pid} on ${holder.host}`,
      heldUntil: holder === undefined ? undefined : new Date(Date.now() + now!.heldForMs),
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
    };
  }
}

/** null: it can't be asked, or does not answer in time. */
function lookAt(slot: EngineSlot): Promise<engineV1.DescribeEngineResponse | null> {
  const { live } = slot.supervisor;
  return live === null ? slot.connector.look(LOOK_TIMEOUT_MS) : live.client.describe(LOOK_TIMEOUT_MS).catch(() => null);
}
