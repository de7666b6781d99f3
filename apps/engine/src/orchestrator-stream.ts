// An engine that dials in to its orchestrator, and serves it through that one stream (docs/design/joined-engines.md). When the stream ends,
// calls under way end with it, so the next one finds the engine clean.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, status as statuses, type ChannelCredentials, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { ownVersion, readSecretFileSync, readUserFileSync } from '#files';
import { tlsProblemIn } from '#local-access';
import {
  bearerToken,
  ByteTunnel,
  canBeToken,
  EspalierError,
  fromServiceError,
  releaseOf,
  toEspalierError,
  TUNNEL_WINDOW_BYTES,
  v1,
} from '#protocol';
import type { JoinArguments } from './arguments.js';
import type { EngineServer } from './engine-server.js';

const FILE_BYTES_MAX = 1 << 20;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;
/** A cut connection is noticed in these times together. */
const PING_MS = 10_000;
const PING_TIMEOUT_MS = 20_000;
/** While it holds a lease, the engine hears from the server all the time. So it looks this often whether the server is silent. */
const SILENCE_LOOK_MS = 1_000;
const WELCOME_TIMEOUT_MS = 30_000;
/** The orchestrator hangs up when it has taken the last answers, which may have a slow way. */
const GOODBYE_MS = 8_000;
const END_MS = 1_000;
/** The orchestrator needs some time to notice that an engine of this name was cut off. */
const NAME_TAKEN_FOR_MS = 60_000;

/** Trying again does not help: the user has to do something. */
const FINAL = new Set([
  ...['TOKEN_NEEDED', 'TOKEN_WRONG', 'TOKEN_REVOKED', 'TOKEN_EXPIRED', 'ROLE_TOO_LOW', 'FILE_UNUSABLE', 'TLS_FILES_UNUSABLE'],
  ...['FIELD_OUT_OF_RANGE', 'FIELD_REQUIRED', 'METHOD_UNKNOWN', 'ENGINE_OF_OTHER_RELEASE'],
]);
/** Final where the engine never was let in: later they may come from a server whose certificate is being mended. */
const FINAL_AT_FIRST = new Set([
  ...['TLS_NAME_WRONG', 'TLS_AUTHORITY_UNKNOWN', 'TLS_CLIENT_REFUSED', 'TLS_NOT_SPOKEN', 'TLS_CERTIFICATE_EXPIRED'],
]);

type JoinCall = ClientDuplexStream<v1.JoinRequest, v1.JoinResponse>;

export class OrchestratorStream {
  private readonly instance = randomUUID();
  private readonly ending = new AbortController();
  private call: JoinCall | null = null;
  private wasIn = false;
  /** When the connection that is open now was let in; null: it was not. */
  private inSinceMs: number | null = null;
  private takenSinceMs: number | null = null;

  constructor(
    private readonly options: JoinArguments,
    private readonly server: Pick<EngineServer, 'serve'>,
    private readonly log: Logger,
    /** Milliseconds after which silence says that the connection is dead; null: pings find out. */
    private readonly silenceMs: () => number | null,
  ) {}

  /** Stays joined until it is told to leave. @throws EspalierError the reason why it can't join, if trying again would not help */
  async stay(): Promise<void> {
    const { signal } = this.ending;
    let told = '';
    for (let delayMs = 0; !signal.aborted;) {
      const error = await this.once();
      if (signal.aborted) return;
      if (this.isFinal(error)) throw error;
      if (error.message !== told) this.log.warn({ code: error.code, server: this.options.address }, `not joined: ${error.message}`);
      told = error.message;
      delayMs = delayBeforeNextTryMs(delayMs, this.inSinceMs === null ? 0 : performance.now() - this.inSinceMs);
      await sleep(delayMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    }
  }

  /** Tells the orchestrator, before the calls under way are ended. */
  sayLeaving(): void {
    this.ending.abort();
    this.call?.write(v1.JoinRequest.fromPartial({ leaving: true }));
  }

  /** Resolves when the orchestrator has hung up, or does not in time. */
  async leave(): Promise<void> {
    const { call } = this;
    if (call === null) return;
    const ended = new Promise((resolve) => call.once('status', resolve));
    await Promise.race([ended, sleep(GOODBYE_MS)]);
    call.end();
    await Promise.race([ended, sleep(END_MS)]);
  }

  private isFinal({ code }: EspalierError): boolean {
    if (FINAL.has(code) || (!this.wasIn && FINAL_AT_FIRST.has(code))) return true;
    if (code !== 'ENGINE_NAME_TAKEN') this.takenSinceMs = null;
    else this.takenSinceMs ??= performance.now();
    return this.takenSinceMs !== null && performance.now() - this.takenSinceMs > NAME_TAKEN_FOR_MS;
  }

  /** Returns why the stream has ended. */
  private async once(): Promise<EspalierError> {
    let client: v1.EngineGatewayServiceClient | undefined;
    this.inSinceMs = null;
    try {
      client = this.client();
      const call = client.join();
      this.call = call;
      return await this.stream(call);
    } catch (error) {
      return toEspalierError(error);
    } finally {
      this.call = null;
      client?.close();
    }
  }

  private stream(call: JoinCall): Promise<EspalierError> {
    const { name, address } = this.options;
    return new Promise((resolve) => {
      const timer = setTimeout(() => call.cancel(), WELCOME_TIMEOUT_MS);
      let tunnel: ByteTunnel | undefined;
      let heardAtMs = performance.now();
      const watch = setInterval(() => {
        const longestMs = this.silenceMs();
        if (longestMs === null || performance.now() - heardAtMs < longestMs) return;
        this.log.warn({ name, seconds: Math.round(longestMs / 1_000) }, 'the server is silent: dialling in again');
        call.cancel();
      }, SILENCE_LOOK_MS);
      call.on('error', () => undefined); // told by the status
      call.once('status', (status: ServiceError) => {
        clearTimeout(timer);
        clearInterval(watch);
        tunnel?.destroy();
        resolve(this.reason(status));
      });
      call.once('data', ({ welcome }: v1.JoinResponse) => {
        call.pause();
        clearTimeout(timer);
        if (!welcome) return call.cancel();
        this.wasIn = true;
        this.inSinceMs = performance.now();
        this.log.info({ name, server: address }, 'joined');
        tunnel = new ByteTunnel(call, {
          bytesIn: ({ piece }: v1.JoinResponse) => piece,
          messageOf: (piece) => v1.JoinRequest.fromPartial({ piece }),
          finish: () => call.end(),
          abandon: () => call.cancel(),
        });
        tunnel.on('error', () => undefined);
        tunnel.onHeard = () => (heardAtMs = performance.now());
        this.server.serve(tunnel);
      });
      call.write(
        v1.JoinRequest.fromPartial({ hello: { name, instance: this.instance, host: hostname(), release: releaseOf(ownVersion()) } }),
      );
    });
  }

  private reason(status: ServiceError): EspalierError {
    const { address, tls } = this.options;
    const problem = tls ? tlsProblemIn(status.details) : undefined;
    if (problem !== undefined) return new EspalierError(problem.code, `the server at ${address} ${problem.message}; ${problem.hint}`);
    if (status.code === statuses.OK) return new EspalierError('ENGINE_LOST', 'the server has ended the connection');
    return fromServiceError(status);
  }

  /** Files are read again, since tokens and authorities are replaced. @throws EspalierError FILE_UNUSABLE, TLS_FILES_UNUSABLE */
  private client(): v1.EngineGatewayServiceClient {
    const { address, tokenFile } = this.options;
    const token = fileOf('--token-file', tokenFile, readSecretFileSync)!.toString('utf8').trim();
    if (!canBeToken(token)) throw new EspalierError('FILE_UNUSABLE', `--token-file: ${tokenFile} holds no token, or more than one`);
    return new v1.EngineGatewayServiceClient(address, this.secret(), {
      ...bearerToken(token),
      'grpc-node.flow_control_window': TUNNEL_WINDOW_BYTES,
      'grpc.keepalive_time_ms': PING_MS,
      'grpc.keepalive_timeout_ms': PING_TIMEOUT_MS,
      'grpc.use_local_subchannel_pool': 1, // each try makes a connection of its own
    });
  }

  private secret(): ChannelCredentials {
    const { tls, tlsCa } = this.options;
    if (!tls) return credentials.createInsecure();
    process.noDeprecation = true; // the gRPC library asks for a server by an address in numbers too, and Node warns of that
    const authority = fileOf('--tls-ca', tlsCa ?? process.env['ESPALIER_TLS_CA'], readUserFileSync);
    const key = fileOf('ESPALIER_TLS_CLIENT_KEY', process.env['ESPALIER_TLS_CLIENT_KEY'], readSecretFileSync);
    const certificate = fileOf('ESPALIER_TLS_CLIENT_CERT', process.env['ESPALIER_TLS_CLIENT_CERT'], readUserFileSync);
    try {
      return credentials.createSsl(authority ?? null, key ?? null, certificate ?? null);
    } catch (error) {
      throw new EspalierError('TLS_FILES_UNUSABLE', `the files for TLS can't be used: ${(error as Error).message}`, { cause: error });
    }
  }
}

/**
 * Each try waits twice as long as the last, since a server may be away for days. A connection that held for longer than the wait before it
 * starts again: the engine has to be back within its lease of a few seconds.
 * @param lastDelayMs the wait before the connection; 0: before the first
 * @param heldMs how long the server kept the engine; 0: it did not let it in
 */
export function delayBeforeNextTryMs(lastDelayMs: number, heldMs: number): number {
  return heldMs > lastDelayMs ? FIRST_DELAY_MS : Math.min(Math.max(2 * lastDelayMs, FIRST_DELAY_MS), LONGEST_DELAY_MS);
}

function fileOf(option: string, path: string | undefined, read: (path: string, limitBytes: number) => Buffer): Buffer | undefined {
  if (!path) return undefined;
  try {
    return read(path, FILE_BYTES_MAX);
  } catch (error) {
    throw new EspalierError('FILE_UNUSABLE', `${option}: ${(error as Error).message}`, { cause: error });
  }
}
