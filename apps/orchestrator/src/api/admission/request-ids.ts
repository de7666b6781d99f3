// Gives every call an id: the one that its client has sent, or a new one.
import { randomUUID } from 'node:crypto';
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { invalidField, reportFailure, REQUEST_ID_HEADER, toServiceError, type EspalierError } from '#protocol';

/** Allows letters, digits and signs that join them, but no character that acts on a log, a terminal or a shell. */
const REQUEST_ID = /^[A-Za-z0-9][A-Za-z0-9._:=+@-]{0,127}$/;

/** Returns the id of a call whose client has sent these ids. `problem` is set where they are not valid; the call is then refused. */
export function requestIdOf(shown: readonly string[]): { id: string; problem?: EspalierError } {
  const [id, ...others] = shown;
  if (id === undefined) return { id: randomUUID() };
  if (others.length === 0 && REQUEST_ID.test(id)) return { id };
  const allowed = 'one is allowed, of 1 to 128 letters, digits and . _ : = + @ -, beginning with a letter or a digit';
  return { id: randomUUID(), problem: invalidField('FIELD_OUT_OF_RANGE', REQUEST_ID_HEADER, allowed) };
}

/** This interceptor comes first. From here on every call has one id, and its answer has the id, too. */
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
