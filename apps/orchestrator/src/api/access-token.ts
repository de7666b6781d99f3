// Who may call: users who can read the token in the data folder, so the server's own user.
import { createHash, timingSafeEqual } from 'node:crypto';
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { EspalierError, reportFailure, toServiceError } from '#protocol';

/** Health and descriptors are no secrets, and a tool asks for them before it knows anything. */
const OPEN_METHOD = /^\/grpc\.(health|reflection)\./;

export function isOpenMethod(path: string): boolean {
  return OPEN_METHOD.test(path);
}

/** The problem of an `authorization` header; nothing where it shows the token. */
export function tokenProblem(token: string): (authorization: string | undefined) => EspalierError | undefined {
  const expected = digest(token);
  return (authorization = '') => {
    const shown = /^bearer +(\S+)$/i.exec(authorization)?.[1];
    if (shown === undefined) return tokenNeeded();
    // Digests have one length, so the time of the comparison tells nothing of the token.
    return timingSafeEqual(digest(shown), expected) ? undefined : tokenWrong();
  };
}

/** Refuses calls without `authorization: Bearer TOKEN`, before their message is read. */
export function tokenCheck(token: string): ServerInterceptor {
  const problemOf = tokenProblem(token);
  return (method, call) => {
    if (isOpenMethod(method.path)) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            const error = problemOf(metadata.get('authorization').map(String)[0]);
            if (error === undefined) return pass(metadata);
            reportFailure(method.path, error, metadata);
            call.sendStatus(toServiceError(error));
          },
        }),
    });
  };
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function tokenNeeded(): EspalierError {
  return new EspalierError(
    'TOKEN_NEEDED',
    'a call needs "authorization: Bearer TOKEN"; the token is in the file "token" of the data folder',
  );
}

function tokenWrong(): EspalierError {
  return new EspalierError(
    'TOKEN_WRONG',
    'this is not the token of this server; it has another at each start, in the file "token" of its data folder',
  );
}
