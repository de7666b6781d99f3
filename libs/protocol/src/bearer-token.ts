import { InterceptingCall, type ClientOptions, type Interceptor } from '@grpc/grpc-js';

/** Whether a header can carry the text. The gRPC library refuses any other, with the secret in the words of its error. */
export function canBeToken(text: string): boolean {
  return /^[ -~]+$/.test(text);
}

/** Options of a client whose calls show a token. */
export function bearerToken(token: string | null): Partial<ClientOptions> {
  if (token === null) return {};
  const show: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        metadata.set('authorization', `Bearer ${token}`);
        next(metadata, listener);
      },
    });
  return { interceptors: [show] };
}
