// The calls of an engine's client, for each kind of call that gRPC has: their errors, their ends, and the connection that they use.
import {
  ChannelCredentials,
  Metadata,
  type CallOptions,
  type Channel,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  type ServiceError,
} from '@grpc/grpc-js';
import { engineV1, EspalierError } from '#protocol';
import { ENGINE_CHANNEL } from './engine-channel.js';
import { engineError } from './engine-errors.js';
import { send, showing } from './sent-data.js';

type Client = engineV1.EngineServiceClient;

/** The longest pause between two pieces of an upload or of a state that an engine sends, and between the last piece and the answer. */
export const STALL_MS = 300_000;

export class EngineCalls {
  private stub: Client;
  private closedBy: EspalierError | null = null;
  /** The time of the engine's last message of any kind, by performance.now. */
  heardAtMs = -Infinity;

  /**
   * @param claim the claim that every call shows, or '' where the engine is a child of this process or is only asked questions
   * @param channel a channel that others use, too; it stays open when this client is closed
   */
  constructor(
    readonly address: string,
    private readonly claimShown = '',
    private readonly channel?: Channel,
  ) {
    this.stub = this.stubAt(address, channel);
  }

  private stubAt(address: string, channel?: Channel): Client {
    return new engineV1.EngineServiceClient(address, ChannelCredentials.createInsecure(), {
      ...ENGINE_CHANNEL,
      ...(channel === undefined ? {} : { channelOverride: channel }),
      interceptors: this.claimShown === '' ? [] : [showing(this.claimShown)],
    });
  }

  /** Makes calls fail for this reason until `resume`, if that is ever called. */
  protected suspend(reason: EspalierError): void {
    this.closedBy ??= reason;
  }

  /** Goes on by another connection to the same process of the engine. */
  protected resume(address: string, channel: Channel): void {
    this.stub = this.stubAt(address, channel);
    this.closedBy = null;
  }

  /** @throws EspalierError the reason of the close, which the channel itself would not know */
  protected get client(): Client {
    if (this.closedBy !== null) throw this.closedBy;
    return this.stub;
  }

  /** @param reason the error of all calls that are made from now on */
  close(reason = new EspalierError('ENGINE_LOST', 'the engine process has ended, or the connection to it was given up')): void {
    this.closedBy ??= reason;
    if (this.channel === undefined) this.stub.close();
  }

  protected unary<Request, Response>(
    method: (
      request: Request,
      metadata: Metadata,
      options: Partial<CallOptions>,
      callback: (error: ServiceError | null, response: Response) => void,
    ) => ClientUnaryCall,
    request: Request,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const call = method.call(this.client, request, new Metadata(), { deadline: Date.now() + timeoutMs }, (error, response) => {
        signal?.removeEventListener('abort', cancel);
        if (!error) this.heardAtMs = performance.now();
        if (error) reject(engineError(error));
        else resolve(response);
      });
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel);
      if (signal?.aborted) cancel();
    });
  }

  protected async upload<Request, Response>(
    method: (callback: (error: ServiceError | null, response: Response) => void) => ClientWritableStream<Request>,
    bytes: AsyncIterable<Uint8Array>,
    message: (chunk: Buffer, first: boolean) => Request,
  ): Promise<Response> {
    let call: ClientWritableStream<Request> | undefined;
    const answer = new Promise<Response>((resolve, reject) => {
      call = method.call(this.client, (error: ServiceError | null, response: Response) => {
        if (error) reject(engineError(error));
        else resolve(response);
      });
    });
    answer.catch(() => undefined); // an error of the sender, such as a damaged artifact, comes first
    let isStalled = false;
    const stall = setTimeout(() => {
      isStalled = true;
      call!.cancel();
    }, STALL_MS).unref();
    try {
      await send(
        call!,
        noting(bytes, () => stall.refresh()),
        message,
      );
      return await answer;
    } catch (error) {
      call!.cancel();
      throw isStalled ? new EspalierError('ENGINE_SILENT', `the engine took no bytes for ${STALL_MS / 1_000} s`) : error;
    } finally {
      clearTimeout(stall);
    }
  }

  protected async *stream<Message>(call: ClientReadableStream<Message>, signal: AbortSignal): AsyncGenerator<Message> {
    const cancel = (): void => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    let ended = false;
    try {
      for await (const message of call as AsyncIterable<Message>) {
        this.heardAtMs = performance.now();
        yield message;
      }
      ended = true;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw engineError(error as ServiceError);
    } finally {
      signal.removeEventListener('abort', cancel);
      if (!ended) call.cancel();
    }
  }
}

async function* noting<T>(items: AsyncIterable<T>, note: () => void): AsyncGenerator<T> {
  for await (const item of items) {
    note();
    yield item;
  }
}
