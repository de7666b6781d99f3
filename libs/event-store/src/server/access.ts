import { ServerInterceptingCall, type Metadata, type ServerInterceptor } from '@grpc/grpc-js';
import type { ConnectionEnds } from '#local-access';
import { toStatus } from './grpc-errors.js';
import { AccessDenied, Unauthenticated } from './refusals.js';
import { parseAcl, parseObject, type StreamAcl } from './stream-metadata.js';
import type { Store } from './store.js';
import { Users, type Principal } from './users.js';

export type { Principal };
export type Action = keyof StreamAcl;

/** Without TLS clients send no passwords, so no client is asked for one: only the server's own user can connect. */
const NOBODY_ASKED: Principal = { name: 'anonymous', groups: ['$admins'] };
/** Clients ask these before they log in. Their requests are empty. */
const OPEN_SERVICES = ['/event_store.client.server_features.ServerFeatures/', '/event_store.client.gossip.Gossip/'];
const EVERYONE = '$all';
const ADMINS = '$admins';
const DEFAULT_ACL_STREAM = '$settings';

/** Who is calling, and what they may do with which stream. */
export class Access {
  /** Told of each connection whose caller is known. */
  onKnown: (ends: ConnectionEnds) => void = () => undefined;

  constructor(
    private readonly store: Store,
    /** undefined when users are off. */
    private readonly users: Users | undefined,
  ) {}

  /** @throws Unauthenticated */
  callerOf(metadata: Metadata): Principal {
    if (!this.users) return NOBODY_ASKED;
    const header = metadata.get('authorization')[0];
    const encoded = typeof header === 'string' ? /^basic (.+)$/i.exec(header)?.[1] : undefined;
    const [, login, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded ?? '', 'base64').toString('utf8')) ?? [];
    const principal = login !== undefined && password !== undefined ? this.users.verify(login, password) : undefined;
    if (!principal) throw new Unauthenticated();
    return principal;
  }

  /** Finds the caller by the metadata of the call: no message of a refused caller is read. */
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

  /** @throws AccessDenied */
  check(caller: Principal, stream: string, action: Action): void {
    if (caller.groups.includes(ADMINS)) return;
    const [target, asked] = targetOf(stream, action);
    const head = this.store.log.heads.find(target);
    const own = head ? this.store.log.heads.metadataOf(head).acl[asked] : this.aclOfUnwritten(target)[asked];
    const roles = own ?? this.defaultRoles(target, asked);
    const allowed = roles.some((role) => role === EVERYONE || role === caller.name || caller.groups.includes(role));
    if (!allowed) throw new AccessDenied();
  }

  /** Metadata can be set before the first event. */
  private aclOfUnwritten(stream: string): StreamAcl {
    return parseAcl(parseObject(this.lastData(`$$${stream}`)).$acl);
  }

  private defaultRoles(stream: string, action: Action): string[] {
    const isSystem = stream.startsWith('$');
    const settings = parseObject(this.lastData(DEFAULT_ACL_STREAM));
    const acl = parseAcl(settings[isSystem ? '$systemStreamAcl' : '$userStreamAcl']);
    return acl[action] ?? [isSystem ? ADMINS : EVERYONE];
  }

  private lastData(stream: string): Buffer | undefined {
    return this.store.reader.newest(stream)?.data;
  }
}

/** "$$name" is the metadata of "name". */
function targetOf(stream: string, action: Action): [stream: string, action: Action] {
  if (!stream.startsWith('$$')) return [stream, action];
  return [stream.slice(2), action === 'read' ? 'metaRead' : 'metaWrite'];
}
