// Every call has an id: its client's own, or one that the server makes.
import { randomUUID } from 'node:crypto';
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { invalidField, reportFailure, REQUEST_ID_HEADER, toServiceError } from '#protocol';

/** Letters, digits and what joins them: nothing that acts upon a log, a terminal or a shell. */
const REQUEST_ID = /^[A-Za-z0-9][A-Za-z0-9._:=+@-]{0,127}$/;

/** Comes before all other interceptors: from here on every call has one id, and its answer bears it too. */
export const requestIds: ServerInterceptor = (method, call) => {
  let id = '';
  return new ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata: (metadata, pass) => {
          const shown = metadata.get(REQUEST_ID_HEADER).map(String);
          const isFit = shown.length === 0 || (shown.length === 1 && REQUEST_ID.test(shown[0]!));
          id = isFit && shown.length === 1 ? shown[0]! : randomUUID();
          metadata.set(REQUEST_ID_HEADER, id);
          if (isFit) return pass(metadata);
          const error = invalidField(
            'FIELD_OUT_OF_RANGE',
            REQUEST_ID_HEADER,
            'one is allowed, of 1 to 128 letters, digits and . _ : = + @ -, beginning with a letter or a digit',
          );
          reportFailure(method.path, error, metadata);
          call.sendStatus(toServiceError(error));
        },
      }),
    sendMetadata: (metadata, next) => {
      metadata.set(REQUEST_ID_HEADER, id);
      next(metadata);
    },
  });
};
