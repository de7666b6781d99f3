// Tells which release a server is of, in a header of each answer and a trailer of each refusal. A command compares it with its own, since
// a server of an earlier release lacks what the command may ask for. Releases are told apart by their version, and those of one version by
// the size of the public API, which only grows. Those that are equal in both are told apart by the defaults of their settings, which do not
// say which release is the later one.
import { InterceptingCall, Metadata, ServerInterceptingCall, status, type Interceptor, type ServerInterceptor } from '@grpc/grpc-js';
import { API_SIZE } from './generated/descriptor-set.js';
import { defaultsDigest } from './settings/defaults-digest.js';

const HEADER = 'espalier-release';

/** Returns a text like "0.1.0 1432 83f0a2c1". */
export const releaseOf = (version: string): string => `${version} ${API_SIZE} ${defaultsDigest()}`;

/** unlike: only the defaults differ, and either release may be the later one. */
export type OtherRelease = 'earlier' | 'later' | 'unlike';

/**
 * Compares the release of a server with the own one.
 * @param told the server's words; undefined: it is of a release whose servers told nothing
 * @returns null where both are of one release
 */
export function otherRelease(told: string | undefined, own: string): OtherRelease | null {
  if (told === undefined) return 'earlier';
  const [theirs, ours] = [partsOf(told), partsOf(own)];
  const differs = ours.findIndex((part, index) => theirs[index] !== part);
  if (differs >= 0) return theirs[differs]! < ours[differs]! ? 'earlier' : 'later';
  const defaults = defaultsIn(told);
  if (defaults === defaultsIn(own)) return null;
  return defaults === undefined ? 'earlier' : 'unlike';
}

/** The digest of defaults; undefined in the first releases, which told none. */
const defaultsIn = (release: string): string | undefined => release.split(' ')[2];

/**
 * Returns the numbers of the version and the size of the API. A text of another form has none of them, and so counts as a later release.
 */
const partsOf = (release: string): number[] => (/^(\d+)\.(\d+)\.(\d+)\S* (\d+)/.exec(release) ?? []).slice(1).map(Number);

/** Makes a server tell its release. */
export function tellingRelease(own: string): ServerInterceptor {
  return (_, call) =>
    new ServerInterceptingCall(call, {
      sendMetadata: (metadata, next) => {
        metadata.set(HEADER, own);
        next(metadata);
      },
      sendStatus: (end, next) => {
        const metadata = end.metadata ?? new Metadata();
        if (end.code !== status.OK) metadata.set(HEADER, own); // a refusal has no header
        next({ ...end, metadata });
      },
    });
}

/** Makes a client hear the release of the server that answers. An error without a release tells nothing: no server may have sent it. */
export function hearingRelease(heard: (told: string | undefined) => void): Interceptor {
  return (options, nextCall) => {
    let told: string | undefined;
    return new InterceptingCall(nextCall(options), {
      start: (metadata, _, next) =>
        next(metadata, {
          onReceiveMetadata: (received, pass) => {
            told = received.get(HEADER)[0]?.toString();
            pass(received);
          },
          onReceiveMessage: (message: unknown, pass) => {
            if (message !== null) heard(told);
            pass(message);
          },
          onReceiveStatus: (end, pass) => {
            const [release] = end.metadata.get(HEADER);
            if (release !== undefined) heard(release.toString());
            pass(end);
          },
        }),
    });
  };
}
