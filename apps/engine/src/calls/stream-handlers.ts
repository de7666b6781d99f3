// Makes handlers of calls that send a stream from async functions over its messages; the other two kinds come from the protocol library. In
// all four, errors of the engine are translated to the protocol's.
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  sendUnaryData,
  ServerDuplexStream,
  ServerReadableStream,
} from '@grpc/grpc-js';
import { serverStreaming as plainServerStreaming, toServiceError, unary as plainUnary } from '#protocol';
import { toProtocolError } from './engine-errors.js';

/** Called with every failed call, for logs. */
export type FailureListener = (method: string, error: unknown) => void;

export function unary<Request, Response>(
  handler: (request: Request, signal: AbortSignal) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return plainUnary(async (request: Request, signal) => {
    try {
      return await handler(request, signal);
    } catch (error) {
      throw toProtocolError(error);
    }
  });
}

export function serverStreaming<Request, Response>(
  handler: (request: Request, signal: AbortSignal) => AsyncIterable<Response>,
): handleServerStreamingCall<Request, Response> {
  return plainServerStreaming((request: Request, signal) => mapped(handler(request, signal)));
}

export function clientStreaming<Request, Response>(
  handler: (requests: AsyncIterable<Request>, signal: AbortSignal) => Promise<Response>,
  onFailure: FailureListener,
): handleClientStreamingCall<Request, Response> {
  return (call: ServerReadableStream<Request, Response>, callback: sendUnaryData<Response>) => {
    const abort = new AbortController();
    call.on('cancelled', () => abort.abort());
    handler(messagesOf(call), abort.signal).then(
      (response) => callback(null, response),
      (error: unknown) => {
        onFailure(call.getPath(), error);
        callback(toServiceError(toProtocolError(error)));
      },
    );
  };
}

export function bidirectional<Request, Response>(
  handler: (requests: AsyncIterable<Request>, signal: AbortSignal) => AsyncIterable<Response>,
  onFailure: FailureListener,
): handleBidiStreamingCall<Request, Response> {
  return (call: ServerDuplexStream<Request, Response>) => {
    const abort = new AbortController();
    call.on('cancelled', () => abort.abort());
    const work = async (): Promise<void> => {
      // The messages are few and small, so there is no need to wait for the client to read them.
      for await (const message of handler(messagesOf(call), abort.signal)) if (!abort.signal.aborted) call.write(message);
      call.end();
    };
    work().catch((error: unknown) => {
      if (abort.signal.aborted) return;
      onFailure(call.getPath(), error);
      call.emit('error', toServiceError(toProtocolError(error)));
    });
  };
}

/**
 * Yields the messages of a call. If the client goes away, the loop ends with an error. If the loop is left early, the call stays open, so
 * that it can still be answered.
 */
async function* messagesOf<Request>(
  call: ServerReadableStream<Request, unknown> | ServerDuplexStream<Request, unknown>,
): AsyncGenerator<Request> {
  yield* call.iterator({ destroyOnReturn: false }) as AsyncIterable<Request>;
}

async function* mapped<Response>(messages: AsyncIterable<Response>): AsyncGenerator<Response> {
  try {
    yield* messages;
  } catch (error) {
    throw toProtocolError(error);
  }
}
