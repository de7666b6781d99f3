// The calls of an engine's client, of each kind that gRPC has: their errors, their ends, and the connection that they go by.
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
import { send, showing } from './sending.js';

type Client = engineV1.EngineServiceClient;

export class EngineCalls {
  private stub: Client;
  private closedBy: EspalierError | null = null;
  /** The time of its last message of any kind, by performance.now. */
  heardAtMs = -Infinity;

  /**
   * @param claim shown with every call; '': the engine is our own child, or is only looked at
   * @param channel that others use too: it stays open when this client is closed
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
      ...(this.claimShown === '' ? {} : { interceptors: [showing(this.claimShown)] }),
    });
  }

  /** Calls fail for this reason until `resume`, or for good. */
  protected suspend(reason: EspalierError): void {
    this.closedBy ??= reason;
  }

  /** Goes on by another connection to the same process of the engine. */
  protected resume(address: string, channel: Channel): void {
    this.stub = this.stubAt(address, channel);
    this.closedBy = null;
  }

  /** @throws EspalierError once it is closed, where the channel would know no reason */
  protected get client(): Client {
    if (this.closedBy !== null) throw this.closedBy;
    return this.stub;
  }

  /** @param reason that calls made from now on end with */
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
    answer.catch(() => undefined); // the sender's own error, e.g. of a damaged artifact, comes first
    try {
      await send(call!, bytes, message);
    } catch (error) {
      call!.cancel();
      throw error;
    }
    return answer;
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
