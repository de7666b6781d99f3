// Every call has an id: its client's own, or one that the server makes.
import { randomUUID } from 'node:crypto';
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { invalidField, reportFailure, REQUEST_ID_HEADER, toServiceError, type EspalierError } from '#protocol';

/** Letters, digits and signs that join them: no character that acts upon a log, a terminal or a shell. */
const REQUEST_ID = /^[A-Za-z0-9][A-Za-z0-9._:=+@-]{0,127}$/;

/** The id of a call whose client has sent these ids. With `problem` they are not valid, and the call is refused. */
export function requestIdOf(shown: readonly string[]): { id: string; problem?: EspalierError } {
  if (shown.length === 0) return { id: randomUUID() };
  if (shown.length === 1 && REQUEST_ID.test(shown[0]!)) return { id: shown[0]! };
  const allowed = 'one is allowed, of 1 to 128 letters, digits and . _ : = + @ -, beginning with a letter or a digit';
  return { id: randomUUID(), problem: invalidField('FIELD_OUT_OF_RANGE', REQUEST_ID_HEADER, allowed) };
}

/** This interceptor comes first: from here on every call has one id, and its answer bears the id too. */
export const requestIds: ServerInterceptor = (method, call) => {
  let id = '';
  return new ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata: (metadata, pass) => {
          const { id: own, problem } = requestIdOf(metadata.get(REQUEST_ID_HEADER).map(String));
          id = own;
          metadata.set(REQUEST_ID_HEADER, id);
          if (problem === undefined) return pass(metadata);
          reportFailure(method.path, problem, metadata);
          call.sendStatus(toServiceError(problem));
        },
      }),
    sendMetadata: (metadata, next) => {
      metadata.set(REQUEST_ID_HEADER, id);
      next(metadata);
    },
  });
};
