// The services of a server as promises and async iterables. Their errors keep stable codes.
import {
  makeClientConstructor,
  Metadata,
  status,
  type CallOptions,
  type ChannelOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ServiceError,
} from '@grpc/grpc-js';
import { bearerToken, EspalierError, fromServiceError, hearingRelease, isServiceError, v1, visibleMessage, visibleText } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { ServerAddress } from './server-address.js';
import { channelOf, tlsProblem } from './server-tls.js';

const CALL_TIMEOUT_MS = 60_000;
const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': 64 << 20,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.initial_reconnect_backoff_ms': 200,
  'grpc.max_reconnect_backoff_ms': 2_000,
};

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;
type StreamingMethod<Request, Response> = (
  request: Request,
  metadata?: Metadata,
  options?: Partial<CallOptions>,
) => ClientReadableStream<Response>;

/** Every answer whose message has one of these fields sets it, which the types of messages can't say. */
type AlwaysSet = 'run' | 'study' | 'memory' | 'settings';
const ALWAYS_SET = new Set<string>(['run', 'study', 'memory', 'settings'] satisfies AlwaysSet[]);
export type Whole<Response> = Response & { [Name in keyof Response & AlwaysSet]-?: NonNullable<Response[Name]> };

export class Connection {
  /** True: a person reads the answers on a terminal, so control characters are made visible. Programs get answers unchanged. */
  static forPeople = true;
  /** Called with each answer of a server and the release that the server tells, if it tells one. */
  static onAnswer: (server: ServerAddress, release: string) => void = () => undefined;
  readonly runs: v1.RunServiceClient;
  readonly history: v1.HistoryServiceClient;
  readonly artifacts: v1.ArtifactServiceClient;
  readonly engines: v1.EngineServiceClient;
  readonly studies: v1.StudyServiceClient;
  readonly access: v1.AccessServiceClient;

  /** @param signal ends every call when it is aborted */
  constructor(
    readonly server: ServerAddress,
    private readonly signal?: AbortSignal,
  ) {
    const { secret, options: named } = channelOf(server);
    const { interceptors = [] } = bearerToken(server.token);
    const hearing = hearingRelease((release) => Connection.onAnswer(server, release));
    const options = { ...CHANNEL_OPTIONS, ...named, interceptors: [...interceptors, hearing] };
    this.runs = new v1.RunServiceClient(server.address, secret, options);
    this.history = new v1.HistoryServiceClient(server.address, secret, options);
    this.artifacts = new v1.ArtifactServiceClient(server.address, secret, options);
    this.engines = new v1.EngineServiceClient(server.address, secret, options);
    this.studies = new v1.StudyServiceClient(server.address, secret, options);
    this.access = new v1.AccessServiceClient(server.address, secret, options);
  }

  close(): void {
    for (const client of [this.runs, this.history, this.artifacts, this.engines, this.studies, this.access]) client.close();
  }

  /** Returns the one answer of a call, or throws its error. */
  call<Client extends object, Request, Response>(
    client: Client,
    method: (this: Client, ...parameters: Parameters<UnaryMethod<Request, Response>>) => ClientUnaryCall,
    request: Request,
    timeoutMs = CALL_TIMEOUT_MS,
  ): Promise<Whole<Response>> {
    return new Promise<Response>((resolve, reject) => {
      this.signal?.throwIfAborted();
      const call = method.call(client, request, new Metadata(), { deadline: Date.now() + timeoutMs }, (error, response) => {
        this.signal?.removeEventListener('abort', cancel);
        if (error === null) resolve(shown(response));
        else reject(this.signal?.aborted === true ? (this.signal.reason as Error) : this.mapped(error, timeoutMs));
      });
      const cancel = () => call.cancel();
      this.signal?.addEventListener('abort', cancel);
    }).then(whole);
  }

  /** Asks the health service, which needs no token, whether the server can record. Throws where the server does not answer in time. */
  async isServing(timeoutMs: number): Promise<boolean> {
    const { service } = await import('grpc-health-check');
    const { secret, options } = channelOf(this.server);
    const client = new (makeClientConstructor(service, 'Health'))(this.server.address, secret, options);
    const check = client['check'] as UnaryMethod<{ service: string }, { status: string }>;
    try {
      return (await this.call(client, check, { service: '' }, timeoutMs)).status === 'SERVING';
    } finally {
      client.close();
    }
  }

  /** Yields messages as they arrive. The call is cancelled when the loop is left. */
  async *stream<Client extends object, Request, Response>(
    client: Client,
    method: (this: Client, ...parameters: Parameters<StreamingMethod<Request, Response>>) => ClientReadableStream<Response>,
    request: Request,
    signal = this.signal,
    /** Makes a message fit for a terminal. Calls pass a function of their own where showing each text as one line is not enough. */
    visible: (message: Response) => Response = visibleMessage,
  ): AsyncGenerator<Response> {
    signal?.throwIfAborted();
    const call = method.call(client, request);
    const cancel = () => call.cancel();
    signal?.addEventListener('abort', cancel);
    try {
      for await (const message of call) yield shown(message as Response, visible);
    } catch (error) {
      signal?.throwIfAborted();
      throw this.mapped(error);
    } finally {
      signal?.removeEventListener('abort', cancel);
      call.on('error', () => undefined); // the error of the cancellation itself
      call.cancel();
    }
  }

  /** @param timeoutMs the time that the call had; undefined: as long as it takes */
  private mapped(error: unknown, timeoutMs?: number): Error {
    if (!isServiceError(error)) return error as Error;
    const known = fromServiceError(error);
    if (error.details.startsWith(NOT_GRPC)) return notEspalier(this.server, error);
    if (known.code === 'DEADLINE_EXCEEDED' && timeoutMs !== undefined) return silent(this.server, timeoutMs, error);
    if (known.code === 'EVENT_STORE_UNAVAILABLE') return storeUnavailable(known, error);
    if (UNANSWERED.has(known.code) || isBroken(error)) return tlsProblem(this.server, error) ?? unavailable(this.server, error);
    if (known.code === 'TOKEN_NEEDED' || (known.code === 'TOKEN_WRONG' && this.server.tokenOrigin !== 'given'))
      return tokenRefused(this.server, known.code, error);
    if (known.code === 'LOGIN_ENDED') return loginEnded(known, error);
    if (known.code !== 'UNIMPLEMENTED') return Connection.forPeople ? visibleError(known) : known;
    return new CliError('NOT_SUPPORTED', `the server at ${this.server.address} can't do this: ${known.message}`, { cause: error });
  }
}

/** The codes of calls that the transport ended. Errors of a server have codes of their own. */
const UNANSWERED = new Set(['UNAVAILABLE', 'UNKNOWN', 'CANCELLED']);
/** The beginning of the transport's own text for an answer of a program that is no server of this protocol. */
const NOT_GRPC = 'Received HTTP status code';

/**
 * Tells whether the error means a server that died in the middle of a call. If the connection breaks while something is written (EPIPE),
 * the transport reports an internal error. Espalier's servers send no internal error without details of their own.
 */
export function isBroken({ code, details }: ServiceError): boolean {
  return code === status.INTERNAL && details.startsWith('Received RST_STREAM');
}

/** Makes control characters of an error visible, such as a line break in a name. */
function visibleError(error: EspalierError): EspalierError {
  const { code, message, violations, metadata } = error;
  return new EspalierError(code, visibleText(message), { violations: visibleMessage(violations), metadata, cause: error.cause });
}

function whole<Response>(response: Response): Whole<Response> {
  const [lacking] = Object.entries(response as object).find(([name, value]) => value === undefined && ALWAYS_SET.has(name)) ?? [];
  if (lacking !== undefined) throw new EspalierError('INTERNAL', `the server sent no ${lacking}`);
  return response as Whole<Response>;
}

function shown<Message>(message: Message, visible: (message: Message) => Message = visibleMessage): Message {
  return Connection.forPeople ? visible(message) : message;
}

function tokenRefused({ address }: ServerAddress, code: string, cause: unknown): CliError {
  return new CliError(code, `the server at ${address} ${code === 'TOKEN_WRONG' ? 'has another token' : 'asks for its token'}`, {
    cause,
    hint:
      'log in with espalier login, where the server has logins; else name its data folder with --data-folder, where only its user can ' +
      'read the token, or the file of a token with --token-file',
  });
}

function loginEnded({ code, message }: EspalierError, cause: unknown): CliError {
  return new CliError(code, message, { cause, hint: 'espalier login' });
}

function notEspalier({ address, source }: ServerAddress, cause: unknown): CliError {
  return new CliError('SERVER_UNAVAILABLE', `the program that answers at ${address} (from ${source}) is no Espalier server`, {
    exitCode: ExitCode.unavailable,
    cause,
    hint: 'name the server with --server HOST:PORT; a web server in front of it must pass gRPC on',
  });
}

function silent({ address, source }: ServerAddress, timeoutMs: number, cause: unknown): CliError {
  return new CliError('DEADLINE_EXCEEDED', `the server at ${address} (from ${source}) did not answer within ${timeoutMs / 1_000} s`, {
    exitCode: ExitCode.unavailable,
    cause,
    hint: 'it is busy, or it hangs: see espalier status and espalier logs, then try again',
  });
}

function storeUnavailable({ code, message }: EspalierError, cause: unknown): CliError {
  return new CliError(code, message, {
    exitCode: ExitCode.unavailable,
    cause,
    hint: 'the server looks for it by itself, and its runs go on then: try again in a moment, or see espalier logs',
  });
}

function unavailable({ address, source }: ServerAddress, cause: unknown): CliError {
  return new CliError('SERVER_UNAVAILABLE', `no server answers at ${address} (from ${source})`, {
    exitCode: ExitCode.unavailable,
    cause,
    hint: 'start one with: espalier up --detach    (or name another with --server HOST:PORT; with TLS, https://HOST:PORT)',
  });
}
