// The services of espalier.v1 with their handlers. The gRPC server and the HTTP server offer the same ones.
import { Inject, Injectable } from '@nestjs/common';
import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { heedingUnknownFields, v1 } from '#protocol';
import { AccessGrpc } from './access.grpc.js';
import { ArtifactGrpc } from './artifact.grpc.js';
import { EngineGatewayGrpc } from './engine-gateway.grpc.js';
import { EngineGrpc } from './engine.grpc.js';
import { FilesGrpc } from './files.grpc.js';
import { Guard } from './admission/call-guard.js';
import { HistoryGrpc } from './history.grpc.js';
import { JobGrpc } from './job.grpc.js';
import { RetentionGrpc } from './retention.grpc.js';
import { RunQueriesGrpc } from './run-queries.grpc.js';
import { RunGrpc } from './run.grpc.js';
import { PageGrpc } from './page.grpc.js';
import { StudyGrpc } from './study.grpc.js';
import { UsageGrpc } from './usage.grpc.js';

export const SERVICES = [
  ...[
    'RunService',
    'HistoryService',
    'ArtifactService',
    'EngineService',
    'StudyService',
    'PageService',
    'AccessService',
    'EngineGatewayService',
  ],
].map((name) => `espalier.v1.${name}`);

export interface PublicService {
  definition: ServiceDefinition;
  handlers: UntypedServiceImplementation;
}

@Injectable()
export class PublicServices {
  /** The services that the HTTP server offers, too. */
  readonly all: readonly PublicService[];
  /** The service with a stream in both directions, which HTTP/1.1 can't carry. It checks its callers by itself. */
  readonly gateway: PublicService;

  constructor(
    @Inject(RunGrpc) runs: RunGrpc,
    @Inject(RunQueriesGrpc) queries: RunQueriesGrpc,
    @Inject(HistoryGrpc) history: HistoryGrpc,
    @Inject(ArtifactGrpc) artifacts: ArtifactGrpc,
    @Inject(EngineGrpc) engines: EngineGrpc,
    @Inject(EngineGatewayGrpc) gateway: EngineGatewayGrpc,
    @Inject(RetentionGrpc) retention: RetentionGrpc,
    @Inject(StudyGrpc) studies: StudyGrpc,
    @Inject(PageGrpc) pages: PageGrpc,
    @Inject(JobGrpc) jobs: JobGrpc,
    @Inject(AccessGrpc) access: AccessGrpc,
    @Inject(UsageGrpc) usage: UsageGrpc,
    @Inject(FilesGrpc) files: FilesGrpc,
    @Inject(Guard) guard: Guard,
  ) {
    const of = <Handlers>(definition: ServiceDefinition<Handlers & UntypedServiceImplementation>, handlers: Handlers): PublicService => ({
      definition: heedingUnknownFields(definition),
      handlers: Object.fromEntries(
        Object.entries(definition).map(([name, method]) => [name, guard.of(method, handlers[name as keyof Handlers] as object)]),
      ),
    });
    this.gateway = { definition: v1.EngineGatewayServiceService, handlers: { ...gateway.handlers() } };
    this.all = [
      of<v1.RunServiceServer>(v1.RunServiceService, {
        ...runs.handlers(),
        ...queries.handlers(),
        ...retention.runHandlers(),
        ...jobs.handlers(),
        ...files.handlers(),
        ...usage.handlers(),
      }),
      of<v1.HistoryServiceServer>(v1.HistoryServiceService, history.handlers()),
      of<v1.ArtifactServiceServer>(v1.ArtifactServiceService, { ...artifacts.handlers(), ...retention.artifactHandlers() }),
      of<v1.EngineServiceServer>(v1.EngineServiceService, engines.handlers()),
      of<v1.StudyServiceServer>(v1.StudyServiceService, studies.handlers()),
      of<v1.PageServiceServer>(v1.PageServiceService, pages.handlers()),
      of<v1.AccessServiceServer>(v1.AccessServiceService, access.handlers()),
    ];
  }
}
