import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { setMaxListeners } from 'node:events';
import { isLoopbackHost, isOwnUser, openGrpcDoor, readTlsPair, type Door, type Refusal } from '#local-access';
import { Access } from './stream-access.js';
import type { ServerContext } from './server-context.js';
import { servicesElsewhere } from './missing-methods.js';
import { featuresHandlers, gossipHandlers } from './features-service.js';
import { MAX_APPEND_BYTES, MESSAGE_OVERHEAD_BYTES } from './limits.js';
import { featuresGrpc, gossipGrpc } from './protocol-classes.js';
import { StoreError } from './store/store-error.js';
import { Store } from './store/store.js';
import { streamsDefinition, streamsHandlers } from './streams-service.js';
import { Users } from './users.js';

export interface ServerOptions {
  folder: string;
  host: string;
  /** The port; 0 picks a free one. */
  port: number;
  /** With TLS, callers log in. Without TLS, and on addresses of this machine only, the server serves only processes of its own user. */
  tls?: { certFile: string; keyFile: string; passwords: { admin: string; ops?: string | undefined } };
  /** Appends that would make the database larger are refused as on a full disk; undefined: no limit. */
  maxDatabaseBytes?: number | undefined;
  /** Called when the store's write-ahead log was removed under the server, which should then be stopped and started again. */
  onLogLost?: () => void;
}

export interface RunningServer {
  port: number;
  stop(): Promise<void>;
}

/** The most calls that one connection may have open. Each subscription is a call. */
const STREAMS_MAX = 2_000;
const FORCE_AFTER_MS = 1000;
const FLOW_CONTROL_WINDOW_BYTES = 4 << 20;

/** Opens the store and serves it. Stopping has an order: no new work is taken, then answers are sent, then the database is closed. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const secret = secretOf(options);
  const store = Store.open(options.folder, options.maxDatabaseBytes, options.onLogLost);
  try {
    const stopping = new AbortController();
    // Every open call listens to this signal.
    setMaxListeners(0, stopping.signal);
    const context: ServerContext = {
      store,
      access: new Access(options.tls && new Users(options.tls.passwords)),
      stopping: stopping.signal,
      advertised: { host: reachable(options.host), port: options.port },
    };
    const server = new Server({
      interceptors: [context.access.interceptor],
      'grpc.max_concurrent_streams': STREAMS_MAX,
      'grpc.max_receive_message_length': MAX_APPEND_BYTES + MESSAGE_OVERHEAD_BYTES,
      'grpc.max_send_message_length': -1,
      'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
    });
    addServices(server, context);
    const listener = await listen(server, options, secret);
    context.advertised.port = listener.port;
    context.access.onKnown = (ends) => listener.trust(ends); // such a connection is not closed to make room for another
    const stop = async () => {
      listener.close();
      stopping.abort();
      await shutDown(server);
      await store.close();
    };
    return { port: context.advertised.port, stop };
  } catch (error) {
    await store.close();
    throw error;
  }
}

function addServices(server: Server, context: ServerContext): void {
  const add = (definition: object, handlers: object) =>
    server.addService(definition as ServiceDefinition, handlers as UntypedServiceImplementation);
  add(featuresGrpc.ServerFeaturesService, featuresHandlers());
  add(gossipGrpc.GossipService, gossipHandlers(context));
  add(streamsDefinition, streamsHandlers(context));
  for (const [definition, handlers] of servicesElsewhere()) add(definition, handlers);
}

/** Returns an address that clients can call: "all interfaces" can't be called. */
function reachable(host: string): string {
  return host === '0.0.0.0' || host === '::' ? 'localhost' : host;
}

/** Returns the credentials of the server; undefined without TLS. @throws StoreError STORE_TLS_UNUSABLE */
function secretOf({ tls }: ServerOptions): ServerCredentials | undefined {
  if (!tls) return undefined;
  try {
    const { certificate, key } = readTlsPair(tls);
    // No client shows a certificate, so no authority is needed. Without one, gRPC would read those that its environment names.
    return ServerCredentials.createSsl(certificate, [{ cert_chain: certificate, private_key: key }], false);
  } catch (error) {
    throw new StoreError('STORE_TLS_UNUSABLE', (error as Error).message, { cause: error });
  }
}

/**
 * Listens for connections. Other users are admitted only if callers log in and other machines can reach the address. Without TLS no user
 * can log in, because the official client then sends no password.
 */
async function listen(server: Server, { host, port }: ServerOptions, secret: ServerCredentials | undefined): Promise<Door> {
  const isForOthers = secret !== undefined && !isLoopbackHost(host);
  const admission = { admits: isForOthers ? () => true : isOwnUser, otherMachines: isForOthers };
  try {
    return await openGrpcDoor(server, secret ?? ServerCredentials.createInsecure(), { host, port, ...admission, onRefused: sayRefused });
  } catch (error) {
    throw new StoreError('STORE_ADDRESS_UNUSABLE', `can't listen on ${host}:${port}: ${(error as Error).message}`, { cause: error });
  }
}

function sayRefused(refusal: Refusal, times: number): void {
  const whose = refusal.why === 'another-user' ? `of user ${refusal.uid}` : `(${refusal.why})`;
  process.stderr.write(`${times === 1 ? 'a connection' : `${times} connections`} ${whose} refused\n`);
}

function shutDown(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.forceShutdown(), FORCE_AFTER_MS);
    server.tryShutdown(() => {
      clearTimeout(force);
      resolve();
    });
  });
}
