// Tells which release a program is of. A server tells it in a header of each answer and a trailer of each refusal, and a command compares
// it with its own. An engine tells it when it dials in or describes itself. Two builds of one version are told apart by a digest of the
// protocol, which the defaults of settings are a part of.
import { InterceptingCall, Metadata, ServerInterceptingCall, status, type Interceptor, type ServerInterceptor } from '@grpc/grpc-js';
import { EspalierError } from './espalier-error.js';
import { PROTOCOL_DIGEST } from './generated/descriptor-set.js';

const HEADER = 'espalier-release';

/** Returns a text like "0.1.0 83f0a2c1". */
export const releaseOf = (version: string): string => `${version} ${PROTOCOL_DIGEST}`;

/** unlike: another build of the same version, which may be the earlier or the later one. */
export type OtherRelease = 'earlier' | 'later' | 'unlike';

/** Compares another program's release with the own one. @returns null where both are the same */
export function otherRelease(release: string, own: string): OtherRelease | null {
  if (release === own) return null;
  const [theirs, ours] = [versionIn(release), versionIn(own)];
  const differs = ours.findIndex((part, index) => theirs[index] !== part);
  if (differs < 0) return 'unlike';
  return theirs[differs]! < ours[differs]! ? 'earlier' : 'later';
}

/** Returns the three numbers of the version. A text of another form has none of them, and so counts as a later release. */
const versionIn = (release: string): number[] => (/^(\d+)\.(\d+)\.(\d+)/.exec(release) ?? []).slice(1).map(Number);

/**
 * Refuses an engine of another release than the server's: it would drop the parts of requests that it does not know, and the record would
 * name them all the same. @param engine its name in words @throws EspalierError ENGINE_OF_OTHER_RELEASE
 */
export function requireRelease(engine: string, release: string, own: string): void {
  if (release === own) return;
  const said = release === '' ? 'tells no release' : `is of release ${release}`;
  throw new EspalierError('ENGINE_OF_OTHER_RELEASE', `${engine} ${said}, and the server is of release ${own}: install the server's there`);
}

/** Makes a server tell its release. */
export function sendingRelease(own: string): ServerInterceptor {
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

/** Makes a client hear the release of the server that answers. An answer without a release is from no server of this program. */
export function hearingRelease(heard: (release: string) => void): Interceptor {
  return (options, nextCall) => {
    let release: string | undefined;
    return new InterceptingCall(nextCall(options), {
      start: (metadata, _, next) =>
        next(metadata, {
          onReceiveMetadata: (received, pass) => {
            release = received.get(HEADER)[0]?.toString();
            pass(received);
          },
          onReceiveMessage: (message: unknown, pass) => {
            if (message !== null && release !== undefined) heard(release);
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
