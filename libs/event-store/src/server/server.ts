import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { setMaxListeners } from 'node:events';
import { isLoopbackHost, isOwnUser, openGrpcDoor, readTlsPair, type Door, type Refusal } from '#local-access';
import { Access } from './access.js';
import type { ServerContext } from './context.js';
import { servicesElsewhere } from './elsewhere.js';
import { featuresHandlers, gossipHandlers } from './features-service.js';
import { MAX_APPEND_BYTES, MESSAGE_OVERHEAD_BYTES } from './limits.js';
import { featuresGrpc, gossipGrpc } from './pb.js';
import { StoreError } from './store-error.js';
import { Store } from './store.js';
import { streamsDefinition, streamsHandlers } from './streams-service.js';
import { Users } from './users.js';

export interface ServerOptions {
  folder: string;
  host: string;
  /** 0 picks a free one. */
  port: number;
  /** With TLS on, callers log in. Without it, and on this machine's own addresses, only processes of the same user are served. */
  tls?: { certFile: string; keyFile: string; passwords: { admin: string; ops?: string | undefined } };
  /** Appends beyond it are refused as on a full disk. */
  maxDatabaseBytes?: number | undefined;
}

export interface RunningServer {
  port: number;
  stop(): Promise<void>;
}

/** Calls that one connection may have open: a subscription is one. */
const STREAMS_MAX = 2_000;
const FORCE_AFTER_MS = 1000;
const FLOW_CONTROL_WINDOW_BYTES = 4 << 20;

/** Opens the store and serves it. The order of stopping matters: no new work, answers out, then the database. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const secret = secretOf(options);
  const store = Store.open(options.folder, options.maxDatabaseBytes);
  try {
    const stopping = new AbortController();
    // Every open call listens.
    setMaxListeners(0, stopping.signal);
    const context: ServerContext = {
      store,
      access: new Access(store.log.heads, options.tls && new Users(options.tls.passwords)),
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
    context.access.onKnown = (ends) => listener.trust(ends); // it makes way for no other connection
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

/** A client can't call an address that means "all interfaces". */
function reachable(host: string): string {
  return host === '0.0.0.0' || host === '::' ? 'localhost' : host;
}

/** undefined without TLS. @throws StoreError STORE_TLS_UNUSABLE */
function secretOf({ tls }: ServerOptions): ServerCredentials | undefined {
  if (!tls) return undefined;
  try {
    const { certificate, key } = readTlsPair(tls);
    return ServerCredentials.createSsl(null, [{ cert_chain: certificate, private_key: key }], false);
  } catch (error) {
    throw new StoreError('STORE_TLS_UNUSABLE', (error as Error).message, { cause: error });
  }
}

/**
 * Only where callers log in do others come in than this process's user, and then only at an address that other machines reach. The official
 * client sends no password without TLS.
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
