import { InterceptingCall, type ClientOptions, type Interceptor } from '@grpc/grpc-js';

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
