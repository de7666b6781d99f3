import { InterceptingCall, type ClientOptions, type Interceptor } from '@grpc/grpc-js';

/** Tells whether a header can carry the text. The gRPC library refuses any other text, with an error that contains the secret. */
export function canBeToken(text: string): boolean {
  return /^[ -~]+$/.test(text);
}

/** The options of a client whose calls show a token; null: they show none. */
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
