// Puts the parts of the orchestrator together, and does nothing else.
import { Global, Module, type DynamicModule } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import type { Logger } from 'pino';
import type { ArtifactStore } from '#artifact-store';
import type { EventStore } from '#event-store';
import type { TlsIdentity } from '#local-access';
import type { OrchestratorConfig } from './config.js';
import { DriverLease } from './storage/driver-lease.js';
import { StoreCondition } from './storage/store-condition.js';
import { TokenKeeper } from './access/token-keeper.js';
import { Access } from './api/admission/access.js';
import { AccessGrpc } from './api/access.grpc.js';
import { Callers } from './api/admission/callers.js';
import { OpenCalls, WITH_TOKEN } from './api/admission/call-limits.js';
import { Doors } from './api/admission/doors.js';
import { GrpcServer } from './api/grpc-server.js';
import { Guard } from './api/admission/call-guard.js';
import { PublicServices } from './api/public-services.js';
import { ForkRunHandler } from './run-commands/fork-run.handler.js';
import { LaunchRunHandler } from './run-commands/launch-run.handler.js';
import { RunQuota } from './run-commands/run-quota.js';
import { Libraries } from './run-inputs/library.js';
import { ModelAndData } from './run-inputs/model-and-data.js';
import { SpeedTables } from './run-inputs/speed-tables.js';
import {
  CancelRunHandler,
  DescribeRunHandler,
  PauseRunHandler,
  PrioritizeRunHandler,
  ResumeRunHandler,
} from './run-commands/pruning-run.command-handlers.js';
import { RunRepository } from './pruning-run/run-repository.js';
import { RetentionGrpc } from './api/retention.grpc.js';
import { Disposal } from './retention/disposal.js';
import { EngineGatewayGrpc } from './api/engine-gateway.grpc.js';
import { EngineGrpc } from './api/engine.grpc.js';
import { CallerHours } from './hours/caller-hours.js';
import type { QuotaFile } from './hours/quota-file.js';
import { UsageGrpc } from './api/usage.grpc.js';
import { Fleet } from './fleets/fleet.js';
import type { FleetSettings } from './fleets/fleet-settings.js';
import { Logins } from './logins/logins.js';
import type { OidcSettings } from './logins/oidc-file.js';
import { FilesGrpc } from './api/files.grpc.js';
import { JobGrpc } from './api/job.grpc.js';
import { EngineJobs } from './engine-pool/engine-jobs.js';
import { EnginePool } from './engine-pool/engine-pool.js';
import { engineSlots, joinedEngines, processOptions } from './engine-pool/engine-slots.js';
import { OwnEngine } from './engines/own-engine.js';
import { JoinedEngines } from './engine-pool/joined-engines.js';
import { engineLender } from './engine-pool/verification-engine.js';
import { LiveProgress } from './live/live-progress.js';
import { RunDriver } from './run-execution/run-driver.js';
import { RunFeed } from './feed/run-feed.js';
import { RunPreparation } from './run-execution/run-preparation.js';
import { RunServices } from './run-services/run-services.js';
import { RunTexts } from './run-services/run-texts.js';
import { JobNotes } from './run-services/job-notes.js';
import { BackgroundJobs } from './run-services/background-jobs.js';
import { SegmentRecorder } from './run-execution/recording/segment-recorder.js';
import { StateKeeper } from './retention/state-keeper.js';
import { Verification } from './verification/verification.js';
import { ArtifactGrpc } from './api/artifact.grpc.js';
import { HistoryGrpc } from './api/history.grpc.js';
import { RunViewsModule } from './api/queries.module.js';
import { RunGrpc } from './api/run.grpc.js';
import { RunPlans } from './api/run-plans.js';
import { ModelReader } from './models/read-model.js';
import { PlanMeasurement } from './run-services/plan-measurement.js';
import { ModelServices } from './run-services/model-services.js';
import { StudyGrpc } from './api/study.grpc.js';
import { PageGrpc } from './api/page.grpc.js';
import { PageRepository } from './pages/page-repository.js';
import { LaunchStudy } from './studies/launch-study.js';
import { StudyDriver } from './studies/study-driver.js';
import { StudyRepository } from './studies/study-repository.js';
import { SpaceReserve } from './storage/space-reserve.js';
import { StorageWatch } from './storage/storage-watch.js';
import { Tallies } from './monitoring/tallies.js';
import type { WebhookSettings } from './webhooks/webhook-file.js';
import { Webhooks } from './webhooks/webhooks.js';
import { MetricsPage } from './web/metrics-page.js';
import { WebServer } from './web/web-server.js';
import {
  ACCESS_TOKEN,
  ARTIFACT_STORE,
  BORROW_ENGINES,
  COOKIE_KEY,
  EVENT_STORE,
  FLEET,
  FOLDER_ID,
  LIVE_PROGRESS,
  LOGGER,
  OIDC,
  OPEN_CALLS,
  ORCHESTRATOR_CONFIG,
  QUOTAS,
  TLS_IDENTITY,
  WEBHOOKS,
} from './provider-names.js';

export interface AppParts {
  config: OrchestratorConfig;
  store: EventStore;
  condition: StoreCondition;
  artifacts: ArtifactStore;
  lease: DriverLease;
  /** The data folder's own id. */
  folderId: string;
  /** The token that clients must show, or null where every user of this machine may call. */
  token: string | null;
  /** Null where the ports have no TLS. */
  tls: TlsIdentity | null;
  tallies: Tallies;
  webhooks: WebhookSettings;
  fleet: FleetSettings | null;
  quotas: QuotaFile | null;
  oidc: OidcSettings | null;
  /** The key that signs this server's cookies. */
  cookieKey: () => string;
  log: Logger;
}

/** The providers that every part may ask for. */
@Global()
@Module({})
class SharedModule {
  static of({
    config,
    store,
    condition,
    artifacts,
    lease,
    folderId,
    token,
    tls,
    tallies,
    webhooks,
    fleet,
    quotas,
    oidc,
    cookieKey,
    log,
  }: AppParts): DynamicModule {
    const around = { folderId, drives: () => lease.held, artifacts, tallies, log };
    const own = new OwnEngine({ ...processOptions(config, 'own', log), device: 'cpu', threads: 1 });
    const pool = new EnginePool(engineSlots(config, around), own);
    const checking = { options: processOptions(config, 'verification', log), devices: config.devices };
    const lender = engineLender(pool, config.engines === 0 ? null : checking);
    const providers = [
      { provide: ORCHESTRATOR_CONFIG, useValue: config },
      { provide: EVENT_STORE, useValue: store },
      { provide: ARTIFACT_STORE, useValue: artifacts },
      { provide: DriverLease, useValue: lease },
      { provide: StoreCondition, useValue: condition },
      { provide: LOGGER, useValue: log },
      { provide: ACCESS_TOKEN, useValue: token },
      { provide: TLS_IDENTITY, useValue: tls },
      { provide: Tallies, useValue: tallies },
      { provide: WEBHOOKS, useValue: webhooks },
      { provide: FLEET, useValue: fleet },
      { provide: QUOTAS, useValue: quotas },
      { provide: OIDC, useValue: oidc },
      { provide: COOKIE_KEY, useValue: cookieKey },
      { provide: FOLDER_ID, useValue: folderId },
      LiveProgress,
      { provide: LIVE_PROGRESS, useExisting: LiveProgress },
      { provide: EnginePool, useValue: pool },
      { provide: JoinedEngines, useValue: joinedEngines(config, around, pool) },
      { provide: BORROW_ENGINES, useValue: lender },
    ];
    return { module: SharedModule, providers, exports: providers };
  }
}

@Module({})
export class AppModule {
  static of(parts: AppParts): DynamicModule {
    return {
      module: AppModule,
      imports: [SharedModule.of(parts), CqrsModule.forRoot(), RunViewsModule],
      providers: [
        RunRepository,
        Libraries,
        ModelAndData,
        SpeedTables,
        RunQuota,
        LaunchRunHandler,
        ForkRunHandler,
        ResumeRunHandler,
        PauseRunHandler,
        CancelRunHandler,
        DescribeRunHandler,
        PrioritizeRunHandler,
        CallerHours,
        UsageGrpc,
        RunFeed,
        StateKeeper,
        SegmentRecorder,
        EngineJobs,
        EngineGrpc,
        EngineGatewayGrpc,
        RunPreparation,
        RunDriver,
        RunServices,
        RunTexts,
        ModelReader,
        ModelServices,
        PlanMeasurement,
        JobNotes,
        BackgroundJobs,
        JobGrpc,
        StudyRepository,
        LaunchStudy,
        StudyDriver,
        StudyGrpc,
        PageRepository,
        PageGrpc,
        Disposal,
        TokenKeeper,
        Logins,
        Fleet,
        Access,
        AccessGrpc,
        Verification,
        HistoryGrpc,
        ArtifactGrpc,
        FilesGrpc,
        Callers,
        Guard,
        Doors,
        RetentionGrpc,
        RunPlans,
        RunGrpc,
        PublicServices,
        { provide: OPEN_CALLS, useFactory: () => new OpenCalls(WITH_TOKEN) },
        GrpcServer,
        Webhooks,
        MetricsPage,
        WebServer,
        SpaceReserve,
        StorageWatch,
      ],
    };
  }
}
