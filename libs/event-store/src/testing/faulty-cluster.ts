// A cluster that plays faults, for tests: nodes in front of one embedded event store. Each node takes the calls of clients, hands them on
// and hands the answers back; on the way it cuts connections, holds answers, or answers as a node that does not lead. The work of a real
// cluster between its nodes (elections, replication) is not played.
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
import { featuresGrpc, gossipGrpc, gossipPb, sharedPb, streamsGrpc } from '../server/pb.js';

type Incoming = ServerDuplexStream<Buffer, Buffer>;
type Outgoing = ClientDuplexStream<Buffer, Buffer>;

/** The next append is cut before the store has it, cut when the store has committed it, or answered when `release` is called. */
export type AppendFault = 'cut-before' | 'cut-after-commit' | 'hold';
/** How a subscription is dropped: by a status, by an end without an error, or with its connection. */
export type Drop = 'unavailable' | 'cancelled' | 'end' | 'cut';

export interface NodeTls {
  certificate: string;
  key: string;
}

const HOST = '127.0.0.1';
const APPENDS = ['Append', 'BatchAppend'];
const asIs = (bytes: Buffer): Buffer => bytes;

export class FaultyCluster {
  private leader = 0;

  private constructor(
    readonly nodes: FaultyNode[],
    private readonly query: string,
  ) {}

  /** @param upstream the connection string of an embedded store without TLS */
  static async start(upstream: string, { nodes = 3, tls, login = '', query = 'tls=false' }: ClusterOptions = {}): Promise<FaultyCluster> {
    const target = /\/\/([^?/]+)/.exec(upstream)![1]!;
    const all: FaultyNode[] = [];
    const cluster = new FaultyCluster(all, query);
    cluster.login = login;
    for (let index = 0; index < nodes; index += 1) all.push(await FaultyNode.start(target, cluster, tls));
    return cluster;
  }

  private login = '';

  /** Names all nodes, or one, so that a client asks for the leader, or takes that node. */
  connectionString(node?: FaultyNode): string {
    const named = (node === undefined ? this.nodes : [node]).map(
      ({ port }) => `${this.query === 'tls=false' ? HOST : 'localhost'}:${port}`,
    );
    return `kurrentdb://${this.login}${named.join(',')}?${this.query}&discoveryInterval=10`;
  }

  get leading(): FaultyNode {
    return this.nodes[this.leader]!;
  }

  /** Another node leads from now on. Calls that are under way go on. */
  lead(node: FaultyNode): void {
    this.leader = this.nodes.indexOf(node);
  }

  /** The next node leads, and the one that led is gone with all its connections, until it is started again. */
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
  /** "user:password@" */
  login?: string;
  query?: string;
}

export class FaultyNode {
  /** Where clients reach it; stays the same when it is stopped and started. */
  port = 0;
  /** Appends that reached it, and calls that it refused as no leader. */
  readonly seen = { appends: 0, refused: 0 };
  /** Added to each answer. */
  slowMs = 0;
  private readonly faults: AppendFault[] = [];
  private readonly sockets = new Set<Socket>();
  private readonly subscriptions = new Set<Incoming>();
  private readonly held: (() => void)[] = [];
  private tcp: TcpServer | null = null;
  private server: Server | null = null;
  private upstream: Client | null = null;

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
    this.upstream = new Client(this.target, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
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
    // Connections go through a socket of our own each, so that one can be cut.
    this.tcp = createServer((socket) => this.passOn(socket, inner));
    this.tcp.listen(this.port, HOST);
    await once(this.tcp, 'listening');
    this.port = (this.tcp.address() as AddressInfo).port;
  }

  /** As if its machine had lost its power. */
  async stop(): Promise<void> {
    if (this.tcp === null) return;
    const closed = once(this.tcp, 'close');
    this.tcp.close();
    this.tcp = null;
    this.cut();
    this.server!.forceShutdown();
    this.upstream!.close();
    await closed;
  }

  /** The next append meets this; each call of this is for another one. */
  atNextAppend(fault: AppendFault): void {
    this.faults.push(fault);
  }

  /** Answers that were held go out. */
  release(): void {
    for (const answer of this.held.splice(0)) answer();
  }

  get holds(): number {
    return this.held.length;
  }

  get openSubscriptions(): number {
    return this.subscriptions.size;
  }

  /** All connections to it break. */
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

  /** Each method as a stream of bytes both ways, which looks the same on the wire. */
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
    const up = this.upstream!.makeBidiStreamRequest<Buffer, Buffer>(path, asIs, asIs, call.metadata.clone());
    call.on('cancelled', () => up.cancel());
    if (method === 'Read') this.subscriptions.add(call); // and reads, which end by themselves
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
      // A follower finds out in the middle of a stream too that it leads no longer.
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

function failure(code: status, details: string, trailers: Record<string, string> = {}): Error {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(trailers)) metadata.set(name, value);
  return Object.assign(new Error(details), { code, details, metadata });
}
