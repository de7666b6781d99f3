// Wraps plain async functions as handlers of grpc-js. Errors are translated, and cancellation is passed on. A stream is written no faster
// than the client reads: an async generator is asked for its next message only when the last one has been sent.
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  sendUnaryData,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { requestIdIn } from './request-id.js';
import { toServiceError } from './service-error.js';

/** Facts about a call that a handler may need beside its message. */
export interface CallInfo {
  method: string;
  metadata: Metadata;
}

/** Called with every failed call, for logs. */
export type ErrorListener = (method: string, error: unknown, requestId: string) => void;
let errorListener: ErrorListener = () => undefined;
export function onHandlerError(listener: ErrorListener): void {
  errorListener = listener;
}

/** Reports a call that failed before its handler was called. */
export function reportFailure(method: string, error: unknown, metadata?: Metadata): void {
  errorListener(method, error, requestIdIn(metadata));
}

/** The plain function inside a handler of grpc-js, for servers of other protocols. It gives one answer, or one message after the other. */
export type PlainHandler = (request: object, signal: AbortSignal, call: CallInfo) => Promise<object> | AsyncIterable<object>;
const plainHandlers = new WeakMap<object, PlainHandler>();

export function plainHandler(handler: object): PlainHandler {
  const plain = plainHandlers.get(handler);
  if (plain === undefined) throw new TypeError('only what unary() or serverStreaming() made has a plain handler');
  return plain;
}

export function unary<Request, Response>(
  handler: (request: Request, signal: AbortSignal, call: CallInfo) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  const wrapped = (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
    handler(call.request, signalOf(call), infoOf(call)).then(
      (response) => callback(null, response),
      (error: unknown) => {
        reportFailure(call.getPath(), error, call.metadata);
        callback(toServiceError(error));
      },
    );
  };
  plainHandlers.set(wrapped, handler as unknown as PlainHandler);
  return wrapped;
}

export function serverStreaming<Request, Response>(
  handler: (request: Request, signal: AbortSignal, call: CallInfo) => AsyncIterable<Response>,
): handleServerStreamingCall<Request, Response> {
  const wrapped = (call: ServerWritableStream<Request, Response>): void => {
    void pump(call, handler);
  };
  plainHandlers.set(wrapped, handler as unknown as PlainHandler);
  return wrapped;
}

async function pump<Request, Response>(
  call: ServerWritableStream<Request, Response>,
  handler: (request: Request, signal: AbortSignal, call: CallInfo) => AsyncIterable<Response>,
): Promise<void> {
  const signal = signalOf(call);
  try {
    for await (const message of handler(call.request, signal, infoOf(call))) {
      if (signal.aborted) return;
      await sent(call, message, signal);
    }
    call.end();
  } catch (error) {
    if (signal.aborted) return; // there is no client any more to get the error
    reportFailure(call.getPath(), error, call.metadata);
    call.emit('error', toServiceError(error));
  }
}

function infoOf(call: { getPath(): string; metadata: Metadata }): CallInfo {
  return { method: call.getPath(), metadata: call.metadata };
}

function signalOf(call: { cancelled: boolean; on(event: 'cancelled', listener: () => void): unknown }): AbortSignal {
  const controller = new AbortController();
  if (call.cancelled) controller.abort();
  call.on('cancelled', () => controller.abort());
  return controller.signal;
}

/**
 * Resolves when the message has been sent, or the call has ended. By waiting for each message, a call holds only one of them in memory. The
 * stream's own limit would let a client that reads nothing pile up sixteen messages of any size.
 */
export function sent<Message>(
  call: { write(message: Message, done: () => void): unknown },
  message: Message,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
    else call.write(message, done);
  });
}
