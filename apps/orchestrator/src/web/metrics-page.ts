// The page /metrics for Prometheus: the tallies of this process, and figures of the moment at which the page is read.
import { Inject, Injectable } from '@nestjs/common';
import { Gauge } from 'prom-client';
import type { ArtifactStore } from '#artifact-store';
import { roomIn } from '#files';
import type { TlsIdentity } from '#local-access';
import type { engineV1 } from '#protocol';
import type { OpenCalls } from '../api/admission/call-limits.js';
import type { OrchestratorConfig } from '../config.js';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { SLOT_STATUSES, type EngineSlot } from '../engine-pool/engine-slot.js';
import { lookAt } from '../engine-pool/slot-description.js';
import { Fleet } from '../fleets/fleet.js';
import { Tallies } from '../monitoring/tallies.js';
import { DriverLease } from '../storage/driver-lease.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { StoreCondition } from '../storage/store-condition.js';
import { ARTIFACT_STORE, OPEN_CALLS, ORCHESTRATOR_CONFIG, TLS_IDENTITY } from '../provider-names.js';
import { LiveProgress } from '../live/live-progress.js';
import { RunViews } from '../views/run-views.js';
import { Webhooks } from '../webhooks/webhooks.js';

export const METRICS_PATH = '/metrics';

interface Figure {
  name: string;
  help: string;
  labels?: string[];
  read: () => Promise<Value[] | number> | Value[] | number;
}

type Value = [labels: Record<string, string>, value: number];

@Injectable()
export class MetricsPage {
  private readonly looks = new Map<EngineSlot, Promise<engineV1.DescribeEngineResponse | null>>();

  constructor(
    @Inject(Tallies) private readonly tallies: Tallies,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(LiveProgress) private readonly live: LiveProgress,
    @Inject(EnginePool) private readonly pool: EnginePool,
    @Inject(EngineJobs) private readonly jobs: EngineJobs,
    @Inject(Fleet) private readonly fleet: Pick<Fleet, 'view'>,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StoreCondition) private readonly condition: StoreCondition,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(Webhooks) private readonly webhooks: Webhooks,
    @Inject(OPEN_CALLS) private readonly calls: OpenCalls,
    @Inject(TLS_IDENTITY) private readonly tls: TlsIdentity | null,
    @Inject(ARTIFACT_STORE) private readonly artifacts: Pick<ArtifactStore, 'reach'>,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder' | 'artifactFolder'>,
  ) {
    for (const figure of [...this.ofWork(), ...this.ofEngines(), ...this.ofProcess()]) this.register(figure);
  }

  get type(): string {
    return this.tallies.registry.contentType;
  }

  text(): Promise<string> {
    this.looks.clear();
    return this.tallies.registry.metrics();
  }

  private register({ name, help, labels: labelNames = [], read }: Figure): void {
    const common = { name, help, labelNames, registers: [this.tallies.registry] };
    /** Each reading begins again. So an engine that is gone has no value, and neither has a figure that can't be read now. */
    const collect = async (metric: Gauge): Promise<void> => {
      metric.reset();
      if (labelNames.length === 0) metric.remove(); // without labels a reset leaves a 0
      const found = await Promise.resolve()
        .then(read)
        .catch(() => []);
      for (const [labels, value] of typeof found === 'number' ? [[{}, found] as Value] : found) metric.inc(labels, value);
    };
    new Gauge({
      ...common,
      collect() {
        return collect(this);
      },
    });
  }

  private ofWork(): Figure[] {
    return [
      {
        name: 'espalier_runs',
        help: 'Runs by their status, deleted ones included.',
        labels: ['status'],
        read: async () => Object.entries(await this.views.countByStatus()).map(([status, count]) => [{ status }, count]),
      },
      {
        name: 'espalier_longest_queued_seconds',
        help: 'How long the run that waits longest for an engine has been queued, 0 while none is.',
        read: async () => (await this.views.longestQueuedMs()) / 1_000,
      },
      {
        name: 'espalier_unrecorded_steps',
        help: 'Training steps that engines have reported and that are not recorded yet.',
        read: () => this.live.unrecordedSteps,
      },
      {
        name: 'espalier_recording_blocked_seconds',
        help: 'How long the work that waits longest has waited for the event store or the disk, 0 while none waits.',
        read: () => Math.max(0, ...this.live.waitsSinceMs.map((since) => (Date.now() - since) / 1_000)),
      },
      {
        name: 'espalier_waiting_jobs',
        help: 'Evaluations, exports and texts that wait for an engine.',
        read: () => this.jobs.waiting.length,
      },
      {
        name: 'espalier_drives',
        help: 'Whether this orchestrator drives the runs (1) or stands by (0).',
        read: () => Number(this.lease.held),
      },
      {
        name: 'espalier_can_record',
        help: 'Whether the data folder can be written (1), or is full or removed (0).',
        read: () => Number(this.storage.canRecord),
      },
      {
        name: 'espalier_artifacts_reachable',
        help: 'Whether the bucket of the artifacts answers (1), or does not or refuses (0); always 1 with a folder.',
        read: () => Number((this.artifacts.reach?.problem ?? null) === null),
      },
      {
        name: 'espalier_store_lacks_events',
        help: 'Whether the event store lacks events that it had before (1).',
        read: () => Number(this.condition.missing !== null),
      },
      {
        name: 'espalier_disk_free_bytes',
        help: 'Bytes that are free where a folder of the server lies.',
        labels: ['folder'],
        read: () => this.room(),
      },
      {
        name: 'espalier_webhook_waiting',
        help: 'Notifications that wait for their receiver.',
        labels: ['webhook'],
        read: () => this.webhooks.waiting(),
      },
    ];
  }

  private fleetJobs(): Value[] {
    const { view } = this.fleet;
    if (view === null) return [];
    return ['waiting', 'running', 'ending'].map((stage) => [{ stage }, view.jobs.filter((job) => job.stage === stage).length]);
  }

  private ofEngines(): Figure[] {
    return [
      {
        name: 'espalier_engines',
        help: 'Engines by their status.',
        labels: ['status'],
        read: () => SLOT_STATUSES.map((one) => [{ status: snakeCase(one) }, this.pool.slots.filter(({ status }) => status === one).length]),
      },
      {
        name: 'espalier_fleet_jobs',
        help: 'Jobs of the fleet by their stage; no value without a fleet.',
        labels: ['stage'],
        read: () => this.fleetJobs(),
      },
      {
        name: 'espalier_fleet_reachable',
        help: 'Whether the fleet can be asked for engines (1), or does not answer or refuses (0); always 1 without a fleet.',
        read: () => Number((this.fleet.view?.problem ?? null) === null),
      },
      {
        name: 'espalier_engine_resident_memory_bytes',
        help: 'Memory of the process of an engine.',
        labels: ['engine'],
        read: () => this.described(({ residentBytes }) => residentBytes),
      },
      {
        name: 'espalier_engine_available_memory_bytes',
        help: 'Memory that is free for an engine on its device.',
        labels: ['engine'],
        read: () => this.described(({ memoryAvailableBytes }) => memoryAvailableBytes),
      },
    ];
  }

  private ofProcess(): Figure[] {
    const startedSeconds = Date.now() / 1_000 - process.uptime();
    const { tls } = this;
    return [
      {
        name: 'espalier_open_calls',
        help: 'Calls that are open, health checks and reflection left out.',
        read: () => this.calls.open,
      },
      ...(tls === null
        ? []
        : [
            {
              name: 'espalier_certificate_expiry_timestamp_seconds',
              help: 'When the certificate of this server ends, in seconds of the epoch.',
              read: () => tls.end.getTime() / 1_000,
            },
          ]),
      {
        name: 'process_resident_memory_bytes',
        help: 'Memory of the process of the orchestrator.',
        read: () => process.memoryUsage.rss(),
      },
      {
        name: 'process_start_time_seconds',
        help: 'When the process of the orchestrator started, in seconds of the epoch.',
        read: () => startedSeconds,
      },
    ];
  }

  /** The free bytes of folders. A folder that can't be read has no value. */
  private async room(): Promise<Value[]> {
    const folders = { data: this.config.dataFolder, artifacts: this.config.artifactFolder };
    const found = Object.entries(folders).map(async ([folder, path]): Promise<Value[]> => {
      const bytes = await roomIn(path).catch(() => null);
      return bytes === null ? [] : [[{ folder }, bytes]];
    });
    return (await Promise.all(found)).flat();
  }

  /** A figure from the engines' descriptions. An engine that has not started, or does not answer in time, has no value. */
  private async described(value: (about: engineV1.DescribeEngineResponse) => bigint): Promise<Value[]> {
    const asked = this.pool.slots.map(async (slot): Promise<Value[]> => {
      const about = await this.lookOnceAt(slot);
      return about === null ? [] : [[{ engine: slot.name }, Number(value(about))]];
    });
    return (await Promise.all(asked)).flat();
  }

  /** Asks an engine once for each page, so that all its figures come from one answer. */
  private lookOnceAt(slot: EngineSlot): Promise<engineV1.DescribeEngineResponse | null> {
    let look = this.looks.get(slot);
    if (look === undefined) this.looks.set(slot, (look = slot.supervisor.live === null ? Promise.resolve(null) : lookAt(slot)));
    return look;
  }
}

/** Writes a status in the words of `espalier engines --json`. */
function snakeCase(word: string): string {
  return word.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
