// Offers espalier.v1 to browsers: the handlers of the gRPC server behind the official Connect router. Messages change between the types of
// two generators by their bytes, which are the same for both. So the rules for requests, errors and streams are those of gRPC.
import { fromBinary, toBinary, type DescMethod, type Message } from '@bufbuild/protobuf';
import { ConnectError, createContextKey, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { Metadata, type MethodDefinition } from '@grpc/grpc-js';
import {
  errorDetails,
  fileRegistry,
  invalidRequest,
  methodAt,
  plainHandler,
  reportFailure,
  REQUEST_ID_HEADER,
  toServiceError,
  violationsOf,
  type PlainHandler,
} from '#protocol';
import type { PublicService } from '../api/public-services.js';

/** The metadata of a call, by which callers are known. The HTTP server sets it. */
export const CALL_METADATA = createContextKey<Metadata>(new Metadata());

type AnyMethod = MethodDefinition<object, object>;

export function connectRoutes(services: readonly PublicService[]): (router: ConnectRouter) => void {
  return (router) => {
    for (const { definition, handlers } of services) {
      for (const [name, method] of Object.entries(definition)) {
        const descriptor = methodAt(method.path);
        if (descriptor === undefined) throw new TypeError(`the descriptors have no ${method.path}`);
        route(router, descriptor, method as AnyMethod, plainHandler(handlers[name]!));
      }
    }
  };
}

function route(router: ConnectRouter, descriptor: DescMethod, method: AnyMethod, handler: PlainHandler): void {
  const { path } = method;
  const begin = (request: Message, context: HandlerContext): Promise<object> | AsyncIterable<object> => {
    const metadata = context.values.get(CALL_METADATA);
    const message = method.requestDeserialize(Buffer.from(toBinary(descriptor.input, request)));
    const violations = violationsOf(descriptor.input, message);
    if (violations.length > 0) throw invalidRequest(violations);
    return handler(message, context.signal, { method: path, metadata });
  };
  const answer = (response: object): Message => fromBinary(descriptor.output, method.responseSerialize(response));
  const failed = (error: unknown, context: HandlerContext): ConnectError => {
    if (!context.signal.aborted) reportFailure(path, error, context.values.get(CALL_METADATA));
    return toConnectError(error);
  };
  if (method.responseStream) {
    router.rpc(descriptor as DescMethod & { methodKind: 'server_streaming' }, async function* (request: Message, context: HandlerContext) {
      try {
        // The next message is asked for when the last one has left.
        for await (const response of begin(request, context) as AsyncIterable<object>) yield answer(response);
      } catch (error) {
        throw failed(error, context);
      }
    });
    return;
  }
  router.rpc(descriptor as DescMethod & { methodKind: 'unary' }, async (request: Message, context: HandlerContext) => {
    try {
      return answer(await (begin(request, context) as Promise<object>));
    } catch (error) {
      throw failed(error, context);
    }
  });
}

/** Returns an error with the same status, message and details as over gRPC. */
export function toConnectError(error: unknown): ConnectError {
  const { code, details, metadata } = toServiceError(error);
  const outgoing = errorDetails(metadata).flatMap(({ typeUrl, value }) => {
    const desc = fileRegistry().getMessage(typeUrl.slice(typeUrl.lastIndexOf('/') + 1));
    return desc === undefined ? [] : [{ desc, value: fromBinary(desc, value) }];
  });
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- Connect has gRPC's numbers
  return new ConnectError(details, code as number, undefined, outgoing);
}

export function callMetadata(requestId: string): Metadata {
  const metadata = new Metadata();
  metadata.set(REQUEST_ID_HEADER, requestId);
  return metadata;
}
