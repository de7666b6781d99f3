// Limits the number of calls that are open at once. A call holds little memory, but a client that opens many and reads none would hold it
// for each. A call counts until its last byte has left.
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { EspalierError, reportFailure, toServiceError } from '#protocol';
import { isOpenMethod } from './access.js';

interface CallLimit {
  ofOneClient: number;
  inAll: number;
}

export const WITH_TOKEN: CallLimit = { ofOneClient: 64, inAll: 256 };
/** The limit of calls that need no token. It is separate, so that these calls take no room from calls with a token. */
export const WITHOUT_TOKEN: CallLimit = { ofOneClient: 16, inAll: 64 };
/** The most streams of one connection, refused calls included. Further calls wait in the client. */
export const STREAMS_PER_CONNECTION = 2 * (WITH_TOKEN.ofOneClient + WITHOUT_TOKEN.ofOneClient);

/** @param counts the counts of calls with a token, which all servers of a process may share */
export function callLimits(counts = new OpenCalls(WITH_TOKEN)): ServerInterceptor {
  const openCounts = new OpenCalls(WITHOUT_TOKEN);
  return (method, call) => {
    const open = isOpenMethod(method.path) ? openCounts : counts;
    let client: string | undefined;
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            const refusal = open.refusal(call.getPeer());
            if (refusal !== undefined) {
              reportFailure(method.path, refusal, metadata);
              return call.sendStatus(toServiceError(refusal));
            }
            client = call.getPeer();
            open.add(client, 1);
            pass(metadata);
          },
          // Every end of a call is reported here, a good one, too.
          onCancel: () => {
            if (client !== undefined) open.add(client, -1);
            client = undefined;
          },
        }),
    });
  };
}

/** Counts the open calls of each client and of all clients together. A client is a connection for gRPC, and an address for HTTP. */
export class OpenCalls {
  private readonly ofClient = new Map<string, number>();
  private all = 0;

  constructor(private readonly limit: CallLimit) {}

  get open(): number {
    return this.all;
  }

  refusal(client: string): EspalierError | undefined {
    const { ofOneClient, inAll } = this.limit;
    if ((this.ofClient.get(client) ?? 0) >= ofOneClient) return tooMany(`this client has ${ofOneClient} calls open, and more`);
    return this.all >= inAll ? tooMany(`${inAll} calls are open, and more of all clients`) : undefined;
  }

  add(client: string, one: 1 | -1): void {
    this.all += one;
    const count = (this.ofClient.get(client) ?? 0) + one;
    if (count === 0) this.ofClient.delete(client);
    else this.ofClient.set(client, count);
  }
}

function tooMany(what: string): EspalierError {
  return new EspalierError('TOO_MANY_CALLS', `${what} are not allowed at once: end one, or read it to its end, and try again`);
}
