import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { Access } from './access.js';
import type { Limits, ServerContext } from './context.js';
import { featuresHandlers, gossipHandlers } from './features-service.js';
import { DEFAULT_LIMITS, MESSAGE_OVERHEAD_BYTES } from './limits.js';
import { featuresGrpc, gossipGrpc } from './pb.js';
import { StoreError } from './store-error.js';
import { Store } from './store.js';
import { streamsDefinition, streamsHandlers } from './streams-service.js';

export interface ServerOptions {
  folder: string;
  host: string;
  /** 0 picks a free one. */
  port: number;
  limits?: Partial<Limits>;
}

export interface RunningServer {
  port: number;
  stop(): Promise<void>;
}

const FORCE_AFTER_MS = 2000;
const FLOW_CONTROL_WINDOW_BYTES = 4 << 20;

/** Opens the store and serves it. The order of stopping matters: no new work, answers out, then the database. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const store = Store.open(options.folder);
  const stopping = new AbortController();
  const context: ServerContext = {
    store,
    access: new Access(),
    limits,
    stopping: stopping.signal,
    advertised: { host: options.host, port: options.port },
  };
  const server = new Server({
    'grpc.max_receive_message_length': limits.maxAppendBytes + MESSAGE_OVERHEAD_BYTES,
    'grpc.max_send_message_length': -1,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  });
  addServices(server, context);
  try {
    context.advertised.port = await bind(server, options, ServerCredentials.createInsecure());
  } catch (error) {
    await store.close();
    throw error;
  }
  const stop = async () => {
    stopping.abort();
    await shutDown(server);
    await store.close();
  };
  return { port: context.advertised.port, stop };
}

function addServices(server: Server, context: ServerContext): void {
  const add = (definition: object, handlers: object) =>
    server.addService(definition as ServiceDefinition, handlers as UntypedServiceImplementation);
  add(featuresGrpc.ServerFeaturesService, featuresHandlers());
  add(gossipGrpc.GossipService, gossipHandlers(context));
  add(streamsDefinition, streamsHandlers(context));
}

function bind(server: Server, { host, port }: ServerOptions, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, credentials, (error, bound) => {
      if (!error) return resolve(bound);
      reject(new StoreError('STORE_ADDRESS_UNUSABLE', `can't listen on ${host}:${port}: ${error.message}`, { cause: error }));
    });
  });
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
