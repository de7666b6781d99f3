// A cluster that plays faults, for tests: nodes in front of one embedded event store. Each node takes the calls of clients, and passes the
// calls and their answers on. On the way it cuts connections, holds answers back, answers as a node that is not the leader, or reads from
// an older store. What the nodes of a real cluster do among themselves (elections, replication) is not played.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server as TcpServer, type Socket } from 'node:net';
import { randomUUID } from 'node:crypto';
import {
  Client,
  Metadata,
  Server,
  ServerCredentials,
  credentials,
  status,
  type ClientDuplexStream,
  type MethodDefinition,
  type ServerDuplexStream,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { featuresGrpc, gossipGrpc, gossipPb, sharedPb, streamsGrpc } from '../server/protocol-classes.js';

type Incoming = ServerDuplexStream<Buffer, Buffer>;
type Outgoing = ClientDuplexStream<Buffer, Buffer>;

/**
 * The fate of the next append: it is cut off before the store has it, cut off after the store has committed it, or answered only when
 * `release` is called.
 */
type AppendFault = 'cut-before' | 'cut-after-commit' | 'hold';
/** The way in which a subscription is dropped: by a status, by an end without an error, or with its connection. */
export type Drop = 'unavailable' | 'cancelled' | 'end' | 'cut';

interface NodeTls {
  certificate: string;
  key: string;
}

const HOST = '127.0.0.1';
const APPENDS = ['Append', 'BatchAppend'];
const addressOf = (connectionString: string): string => /\/\/([^?/]+)/.exec(connectionString)![1]!;
const asIs = (bytes: Buffer): Buffer => bytes;

export class FaultyCluster {
  private leader = 0;

  private constructor(
    readonly nodes: FaultyNode[],
    private readonly query: string,
  ) {}

  /** Starts a cluster. @param upstream the connection string of an embedded store without TLS */
  static async start(upstream: string, { nodes = 3, tls, login = '', query = 'tls=false' }: ClusterOptions = {}): Promise<FaultyCluster> {
    const target = addressOf(upstream);
    const all: FaultyNode[] = [];
    const cluster = new FaultyCluster(all, query);
    cluster.login = login;
    for (let index = 0; index < nodes; index += 1) all.push(await FaultyNode.start(target, cluster, tls));
    return cluster;
  }

  private login = '';

  /**
   * Returns a connection string. It names all nodes, so that a client asks for the leader, or the given node, which the client then uses.
   */
  connectionString(node?: FaultyNode): string {
    const named = (node === undefined ? this.nodes : [node]).map(
      ({ port }) => `${this.query === 'tls=false' ? HOST : 'localhost'}:${port}`,
    );
    return `kurrentdb://${this.login}${named.join(',')}?${this.query}&discoveryInterval=10`;
  }

  get leading(): FaultyNode {
    return this.nodes[this.leader]!;
  }

  /** Makes another node the leader. Running calls go on. */
  lead(node: FaultyNode): void {
    this.leader = this.nodes.indexOf(node);
  }

  /**
   * Makes the next node the leader, and stops the former leader with all its connections. Returns the stopped node, which can be started
   * again.
   */
  async loseLeader(): Promise<FaultyNode> {
    const lost = this.leading;
    this.leader = (this.leader + 1) % this.nodes.length;
    await lost.stop();
    return lost;
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) await node.stop();
  }
}

interface ClusterOptions {
  nodes?: number;
  tls?: NodeTls;
  /** The login as "user:password@". */
  login?: string;
  query?: string;
}

class FaultyNode {
  /** The port at which clients reach the node. It stays the same when the node is stopped and started. */
  port = 0;
  /** The number of appends that arrived, and of calls that the node refused because it was not the leader. */
  readonly seen = { appends: 0, refused: 0 };
  /** The delay in ms before each answer. */
  slowMs = 0;
  private readonly faults: AppendFault[] = [];
  private readonly sockets = new Set<Socket>();
  private readonly subscriptions = new Set<Incoming>();
  private readonly held: (() => void)[] = [];
  private tcp: TcpServer | null = null;
  private server: Server | null = null;
  private upstream: Client | null = null;
  /** The store that the node reads from while it lags. */
  private older: Client | null = null;

  private constructor(
    private readonly target: string,
    private readonly cluster: FaultyCluster,
  ) {}

  static async start(target: string, cluster: FaultyCluster, tls?: NodeTls): Promise<FaultyNode> {
    const node = new FaultyNode(target, cluster);
    await node.start(tls);
    return node;
  }

  async start(tls?: NodeTls): Promise<void> {
    this.upstream = clientOf(this.target);
    this.server = new Server({ 'grpc.max_receive_message_length': -1 });
    for (const service of [streamsGrpc.StreamsService, featuresGrpc.ServerFeaturesService]) this.serve(service);
    this.server.addService(gossipGrpc.GossipService, {
      read: (_call: unknown, done: (error: null, info: unknown) => void) => done(null, this.gossip()),
    });
    const secret =
      tls === undefined
        ? ServerCredentials.createInsecure()
        : ServerCredentials.createSsl(null, [{ cert_chain: Buffer.from(tls.certificate), private_key: Buffer.from(tls.key) }]);
    const inner = await new Promise<number>((resolve, reject) =>
      this.server!.bindAsync(`${HOST}:0`, secret, (error, port) => (error ? reject(error) : resolve(port))),
    );
    // Each connection goes through a socket of this class, so that it can be cut.
    this.tcp = createServer((socket) => this.passOn(socket, inner));
    this.tcp.listen(this.port, HOST);
    await once(this.tcp, 'listening');
    this.port = (this.tcp.address() as AddressInfo).port;
  }

  /** Stops the node as if its machine had lost power. */
  async stop(): Promise<void> {
    if (this.tcp === null) return;
    const closed = once(this.tcp, 'close');
    this.tcp.close();
    this.tcp = null;
    this.cut();
    this.server!.forceShutdown();
    this.upstream!.close();
    this.older?.close();
    await closed;
  }

  /** Lets the node answer reads from another store, as a node does that the newest events have not come to. */
  lag(connectionString: string): void {
    this.older = clientOf(addressOf(connectionString));
  }

  /** Sets the fault of the next append. Another call sets the fault of the append after that. */
  atNextAppend(fault: AppendFault): void {
    this.faults.push(fault);
  }

  /** Sends the answers that were held back. */
  release(): void {
    for (const answer of this.held.splice(0)) answer();
  }

  get holds(): number {
    return this.held.length;
  }

  get openSubscriptions(): number {
    return this.subscriptions.size;
  }

  /** Breaks all connections to the node. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  dropSubscriptions(how: Drop): void {
    if (how === 'cut') return this.cut();
    for (const call of this.subscriptions) {
      if (how === 'end') call.end();
      else call.emit('error', failure(how === 'cancelled' ? status.CANCELLED : status.UNAVAILABLE, 'the subscription was dropped'));
    }
  }

  private passOn(socket: Socket, inner: number): void {
    const onward = connect(inner, HOST);
    this.sockets.add(socket);
    const end = (): void => {
      this.sockets.delete(socket);
      socket.destroy();
      onward.destroy();
    };
    for (const one of [socket, onward]) one.setNoDelay(true).on('error', end).on('close', end);
    socket.pipe(onward).pipe(socket);
  }

  /** Serves each method as a stream of bytes in both directions, which has the same form on the wire. */
  private serve(service: ServiceDefinition): void {
    for (const method of Object.values(service) as MethodDefinition<unknown, unknown>[]) {
      const raw = {
        path: method.path,
        requestStream: true,
        responseStream: true,
        requestSerialize: asIs,
        requestDeserialize: asIs,
        responseSerialize: asIs,
        responseDeserialize: asIs,
      };
      this.server!.addService({ call: raw }, { call: (call: Incoming) => this.handOn(method.path, call) });
    }
  }

  private handOn(path: string, call: Incoming): void {
    const method = path.split('/').at(-1)!;
    const isAppend = APPENDS.includes(method);
    if (this.cluster.leading !== this && (isAppend || call.metadata.get('requires-leader').includes('true'))) {
      this.seen.refused += 1;
      call.emit('error', this.notLeader());
      return;
    }
    const from = method === 'Read' && this.older !== null ? this.older : this.upstream!;
    const up = from.makeBidiStreamRequest<Buffer, Buffer>(path, asIs, asIs, call.metadata.clone());
    call.on('cancelled', () => up.cancel());
    if (method === 'Read') this.subscriptions.add(call); // includes reads, which end by themselves
    up.on('error', (error) => call.emit('error', error));
    up.on('end', () => this.slowly(() => call.end()));
    up.on('close', () => this.subscriptions.delete(call));
    if (isAppend) this.handOnAppends(call, up);
    else {
      call.on('data', (message: Buffer) => up.write(message));
      call.on('end', () => up.end());
      up.on('data', (message: Buffer) => this.answer(call, message));
    }
  }

  private handOnAppends(call: Incoming, up: Outgoing): void {
    call.on('data', (message: Buffer) => {
      this.seen.appends += 1;
      // A node can lose the lead in the middle of a stream.
      if (this.cluster.leading !== this) {
        this.seen.refused += 1;
        call.emit('error', this.notLeader());
        return up.cancel();
      }
      if (this.faults[0] === 'cut-before') {
        this.faults.shift();
        up.cancel();
        return this.cut();
      }
      up.write(message);
    });
    call.on('end', () => up.end());
    up.on('data', (message: Buffer) => {
      const fault = this.faults.shift();
      if (fault === 'cut-after-commit') return this.cut();
      if (fault === 'hold') return void this.held.push(() => this.answer(call, message));
      this.answer(call, message);
    });
  }

  private answer(call: Incoming, message: Buffer): void {
    this.slowly(() => {
      if (!call.cancelled) call.write(message);
    });
  }

  private slowly(work: () => void): void {
    if (this.slowMs > 0) setTimeout(work, this.slowMs);
    else work();
  }

  private notLeader(): Error {
    const { port } = this.cluster.leading;
    const trailers = { exception: 'not-leader', 'leader-endpoint-host': HOST, 'leader-endpoint-port': String(port) };
    return failure(status.NOT_FOUND, `Leader info available at ${HOST}:${port}`, trailers);
  }

  private gossip(): gossipPb.ClusterInfo {
    const info = new gossipPb.ClusterInfo();
    for (const node of this.cluster.nodes) {
      const { LEADER, FOLLOWER } = gossipPb.MemberInfo.VNodeState;
      const endPoint = new gossipPb.EndPoint();
      endPoint.setAddress(HOST);
      endPoint.setPort(node.port);
      const id = new sharedPb.UUID();
      id.setString(randomUUID());
      const member = new gossipPb.MemberInfo();
      member.setInstanceId(id);
      member.setTimeStamp(`${Date.now()}0000`);
      member.setState(node === this.cluster.leading ? LEADER : FOLLOWER);
      member.setIsAlive(node.tcp !== null);
      member.setHttpEndPoint(endPoint);
      info.addMembers(member);
    }
    return info;
  }
}

const clientOf = (target: string): Client => new Client(target, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });

function failure(code: status, details: string, trailers: Record<string, string> = {}): Error {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(trailers)) metadata.set(name, value);
  return Object.assign(new Error(details), { code, details, metadata });
}
