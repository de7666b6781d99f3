import { ServerInterceptingCall, type Metadata, type ServerInterceptor } from '@grpc/grpc-js';
import type { ConnectionEnds } from '#local-access';
import { toStatus } from './grpc-errors.js';
import { AccessDenied, Unauthenticated } from './store/refusals.js';
import type { User, Users } from './users.js';

/** The services that clients call before they log in. Their requests are empty. */
const OPEN_SERVICES = ['/event_store.client.server_features.ServerFeatures/', '/event_store.client.gossip.Gossip/'];

/** Finds out who calls, and which streams the caller may use. */
export class Access {
  /** Called with each connection whose caller is known. */
  onKnown: (ends: ConnectionEnds) => void = () => undefined;

  constructor(
    /** Undefined without TLS: clients then send no passwords, so none is asked for, and only the server's own user can connect. */
    private readonly users: Users | undefined,
  ) {}

  /** @throws Unauthenticated */
  callerOf(metadata: Metadata): User {
    if (!this.users) return 'admin';
    const header = metadata.get('authorization')[0];
    const encoded = typeof header === 'string' ? /^basic (.+)$/i.exec(header)?.[1] : undefined;
    const [, login, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded ?? '', 'base64').toString('utf8')) ?? [];
    const user = login !== undefined && password !== undefined ? this.users.verify(login, password) : undefined;
    if (!user) throw new Unauthenticated();
    return user;
  }

  /** Finds the caller by the metadata of the call, so no message of a refused caller is read. */
  readonly interceptor: ServerInterceptor = ({ path }, call) => {
    if (OPEN_SERVICES.some((service) => path.startsWith(service))) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            try {
              this.callerOf(metadata);
            } catch (error) {
              return call.sendStatus(toStatus(error));
            }
            this.onKnown(call.getConnectionInfo());
            pass(metadata);
          },
        }),
    });
  };

  /**
   * Checks whether the caller may use the stream. Names that begin with "$" belong to the system; "$$name" is the metadata of "name".
   * @throws AccessDenied
   */
  check(caller: User, stream: string): void {
    if (caller === 'admin') return;
    const owner = stream.startsWith('$$') ? stream.slice(2) : stream;
    if (owner.startsWith('$')) throw new AccessDenied();
  }
}
