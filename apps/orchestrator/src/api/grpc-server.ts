// The public gRPC server. It is plain grpc-js under Nest's providers. Nest's own transport would buffer a stream without limit when a
// client reads slowly, and its handlers would lose the generated types.
import { Inject, Injectable } from '@nestjs/common';
import { Server, status } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Logger } from 'pino';
import { ownVersion } from '#files';
import { ReportLimiter, type Door } from '#local-access';
import {
  addReflection,
  onHandlerError,
  releaseOf,
  REQUEST_BYTES_MAX,
  requestChecks,
  statusOf,
  sendingRelease,
  toEspalierError,
} from '#protocol';
import { Callers } from './admission/callers.js';
import { callLimits, STREAMS_PER_CONNECTION, type OpenCalls } from './admission/call-limits.js';
import { Doors } from './admission/doors.js';
import { PublicServices, SERVICES } from './public-services.js';
import { Tallies } from '../monitoring/tallies.js';
import { requestIds } from './admission/request-ids.js';
import { LOGGER, OPEN_CALLS } from '../provider-names.js';

/** The name under which the health service tells whether engines can work. */
const ENGINES = 'espalier.engines';
const GRACE_MS = 2_000;
/** A connection without an open call is closed after this time. Clients connect again by themselves at their next call. */
const IDLE_CONNECTION_MS = 600_000;

/** The codes of refusals before a call's message is read. A caller can cause thousands of them a second. */
const REFUSALS = new Set([
  ...['TOKEN_NEEDED', 'TOKEN_WRONG', 'TOKEN_REVOKED', 'TOKEN_EXPIRED', 'TOKENS_UNKNOWN', 'ROLE_TOO_LOW', 'PATH_NOT_ALLOWED'],
  ...['LOGIN_ENDED', 'LOGIN_REFUSED', 'LOGIN_UNAVAILABLE', 'LOGIN_CHANGED', 'LOGIN_FAILED', 'LOGIN_NOT_OFFERED'],
  ...['LOGIN_NEEDED', 'HOST_FOREIGN', 'ORIGIN_FOREIGN', 'TOO_MANY_CALLS', 'CALLS_TOO_FAST'],
]);

@Injectable()
export class GrpcServer {
  private readonly server: Server;
  private door: Door | null = null;
  private readonly health = new HealthImplementation({
    '': 'SERVING',
    [ENGINES]: 'NOT_SERVING',
    ...Object.fromEntries(SERVICES.map((name) => [name, 'SERVING'] as const)),
  });

  constructor(
    @Inject(PublicServices) services: PublicServices,
    @Inject(Callers) callers: Callers,
    @Inject(Doors) private readonly doors: Doors,
    @Inject(OPEN_CALLS) calls: OpenCalls,
    @Inject(Tallies) tallies: Tallies,
    @Inject(LOGGER) log: Logger,
  ) {
    this.server = new Server({
      'grpc.max_receive_message_length': REQUEST_BYTES_MAX,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_concurrent_streams': STREAMS_PER_CONNECTION,
      'grpc.max_connection_idle_ms': IDLE_CONNECTION_MS,
      interceptors: [
        sendingRelease(releaseOf(ownVersion())),
        requestIds,
        callers.interceptor,
        callers.accessCheck,
        doors.interceptor,
        callLimits(calls),
        requestChecks,
      ],
    });
    const refusals = new ReportLimiter<Refused>(({ message, ...call }, times) => log.info({ ...call, times }, message));
    onHandlerError((method, error, requestId) => {
      const { code, message } = toEspalierError(error);
      tallies.failedCalls.inc({ code });
      if (REFUSALS.has(code)) refusals.add(code, { method, requestId, code, message });
      else if (statusOf(code) === status.INTERNAL) log.error({ method, requestId, code, err: error }, message);
      else log.info({ method, requestId, code }, message);
    });
    for (const { definition, handlers } of [...services.all, services.gateway]) this.server.addService(definition, handlers);
    this.health.addToServer(this.server);
    addReflection(this.server, [...SERVICES, 'grpc.health.v1.Health']);
  }

  /** Returns the address as host:port with the port that was bound. @throws EspalierError LISTEN_FAILED */
  async listen(address: string): Promise<string> {
    const opened = await this.doors.ofGrpc(this.server, address);
    this.door = opened.door;
    return opened.address;
  }

  /** Tells the health service whether this server can work. Without its event store it can't record anything. */
  setServing(serving: boolean): void {
    for (const name of ['', ...SERVICES]) this.health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  }

  /** Tells the health service whether any engine can work. Runs wait for an engine; other calls are answered without one. */
  setEnginesServing(serving: boolean): void {
    this.health.setStatus(ENGINES, serving ? 'SERVING' : 'NOT_SERVING');
  }

  /** Gives calls a moment to end, then closes them: streams that follow a run would never end. */
  async close(): Promise<void> {
    this.setServing(false);
    this.door?.close();
    const graceful = new Promise<void>((resolve) => this.server.tryShutdown(() => resolve()));
    const force = setTimeout(() => this.server.forceShutdown(), GRACE_MS);
    await graceful;
    clearTimeout(force);
  }
}

interface Refused {
  method: string;
  requestId: string;
  code: string;
  message: string;
}
