// The public gRPC server. Plain grpc-js under Nest's providers: Nest's own transport buffers a stream without limit when a
// client reads slowly, and its handlers would lose the generated types.
import { Inject, Injectable } from '@nestjs/common';
import { fileURLToPath } from 'node:url';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import type { Logger } from 'pino';
import { EspalierError, onHandlerError, statusOf, toEspalierError, v1 } from '#protocol';
import { status } from '@grpc/grpc-js';
import { ArtifactGrpc } from './artifact.grpc.js';
import { HistoryGrpc } from './history.grpc.js';
import { RunQueriesGrpc } from './run-queries.grpc.js';
import { RunGrpc } from './run.grpc.js';
import { LOGGER } from './tokens.js';

const PROTO_FOLDER = fileURLToPath(new URL('../../../../proto', import.meta.url));
const PUBLIC_PROTOS = ['run_service', 'history_service', 'artifact_service'].map((name) => `espalier/v1/${name}.proto`);
const SERVICES = ['RunService', 'HistoryService', 'ArtifactService'].map((name) => `espalier.v1.${name}`);
const GRACE_MS = 2_000;

@Injectable()
export class GrpcServer {
  private readonly server = new Server({ 'grpc.max_receive_message_length': 16 << 20, 'grpc.keepalive_permit_without_calls': 1 });
  private readonly health = new HealthImplementation({
    '': 'SERVING',
    ...Object.fromEntries(SERVICES.map((name) => [name, 'SERVING'] as const)),
  });

  constructor(
    @Inject(RunGrpc) runs: RunGrpc,
    @Inject(RunQueriesGrpc) queries: RunQueriesGrpc,
    @Inject(HistoryGrpc) history: HistoryGrpc,
    @Inject(ArtifactGrpc) artifacts: ArtifactGrpc,
    @Inject(LOGGER) log: Logger,
  ) {
    onHandlerError((method, error) => {
      const { code, message } = toEspalierError(error);
      if (statusOf(code) === status.INTERNAL) log.error({ method, code, err: error }, message);
      else log.info({ method, code }, message);
    });
    this.server.addService(v1.RunServiceService, { ...runs.handlers(), ...queries.handlers() });
    this.server.addService(v1.HistoryServiceService, history.handlers());
    this.server.addService(v1.ArtifactServiceService, artifacts.handlers());
    this.health.addToServer(this.server as never);
    new ReflectionService(loadSync(PUBLIC_PROTOS, { includeDirs: [PROTO_FOLDER] })).addToServer(this.server);
  }

  /** Returns host:port as bound. @throws EspalierError LISTEN_FAILED */
  listen(address: string): Promise<string> {
    return new Promise((resolve, reject) => {
      this.server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
        if (error) reject(new EspalierError('LISTEN_FAILED', `${address} can't be served: ${error.message}`));
        else resolve(address.replace(/:\d+$/, `:${port}`));
      });
    });
  }

  /** What the health service says; without its event store this server can't record anything. */
  setServing(serving: boolean): void {
    for (const name of ['', ...SERVICES]) this.health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  }

  /** Lets calls end for a moment; streams that follow a run never would. */
  async close(): Promise<void> {
    this.setServing(false);
    const graceful = new Promise<void>((resolve) => this.server.tryShutdown(() => resolve()));
    const force = setTimeout(() => this.server.forceShutdown(), GRACE_MS);
    await graceful;
    clearTimeout(force);
  }
}
