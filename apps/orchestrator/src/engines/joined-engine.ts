// An engine that has dialled in. It is connected while its stream lasts, and may come back under its name by another stream.
import type { ByteTunnel } from '#protocol';
import { EspalierError } from '#protocol';
import type { EngineConnector, EngineLink, JoinedFacts } from './engine-link.js';
import { answering, claimEngine, type LeaseOptions } from './named-engine.js';
import { TunnelDoor } from './tunnel-door.js';
import { FarEngineClient, type ModelTransfer } from './far/far-client.js';

/** The words of an engine about itself when it dials in, and the facts of its call. */
export interface Arrival {
  name: string;
  /** The id of the engine's process. */
  instance: string;
  host: string;
  peer: string;
  admittedAs: string;
}

/** An engine in use. The use outlives a connection while the engine's process may come back within the lease. */
interface Use {
  instance: string;
  /** Null until it is made. */
  client: FarEngineClient | null;
  /** Ends the use. Its argument is a sentence with the reason. */
  end: (how: string) => void;
  timer: NodeJS.Timeout | undefined;
}

interface Presence {
  arrival: Arrival;
  door: TunnelDoor;
  tunnel: ByteTunnel;
  ended: Promise<string>;
  isLeaving: boolean;
}

export class JoinedEngine implements EngineConnector {
  readonly isNamed = true;
  private presence: Presence | null = null;
  /** The arrival that is being let in, or null. */
  private arriving: Arrival | null = null;
  private last: Arrival | null = null;
  private since = new Date();
  private goneAtMs = Infinity;
  private transfer: ModelTransfer | null = null;
  private use: Use | null = null;
  /** Whether the engine said that it leaves before its stream ended. */
  hasLeft = false;
  /** Whether the last stream ended because the engine left, as an engine without work does. */
  private leftInOrder = false;

  constructor(
    private readonly options: LeaseOptions & { folder: string },
    private readonly changed: () => void,
  ) {}

  get joined(): JoinedFacts | undefined {
    if (this.last === null) return undefined;
    const { host, peer, admittedAs } = this.last;
    const { since, isLeaving, leftInOrder, transfer } = this;
    return { host, peer, admittedAs, since, isConnected: this.presence !== null, isLeaving, leftInOrder, transfer };
  }

  /** The id of the engine's process, or null where it is not connected. */
  get instance(): string | null {
    return (this.arriving ?? this.presence?.arrival)?.instance ?? null;
  }

  /** The milliseconds since the engine's stream ended; negative while it is connected. */
  goneForMs(nowMs = performance.now()): number {
    return nowMs - this.goneAtMs;
  }

  /**
   * Resolves when the engine can be reached. The result's `ended` resolves when its stream has ended. @throws EspalierError
   * ENGINE_UNAVAILABLE
   */
  async arrive(arrival: Arrival, tunnel: ByteTunnel): Promise<{ ended: Promise<unknown> }> {
    this.hangUp();
    this.arriving = arrival;
    let door: TunnelDoor;
    try {
      door = await TunnelDoor.open(tunnel, this.options.folder);
    } finally {
      this.arriving = null;
    }
    if (tunnel.destroyed) {
      door.close();
      throw new EspalierError('ENGINE_UNAVAILABLE', `engine ${arrival.name} went away again`);
    }
    const presence: Presence = { arrival, door, tunnel, isLeaving: false, ended: Promise.resolve('') };
    presence.ended = new Promise((resolve) => {
      tunnel.once('close', () => {
        this.leftBy(presence);
        resolve(presence.isLeaving ? 'the engine has left' : 'the engine was cut off');
      });
    });
    this.presence = presence;
    this.last = arrival;
    this.since = new Date();
    this.goneAtMs = Infinity;
    this.goOnWith(presence);
    return { ended: presence.ended };
  }

  /** Goes on with the engine's work if the same process has come back. Another process has to be claimed again. */
  private goOnWith({ arrival, door, tunnel }: Presence): void {
    const { use } = this;
    if (use === null) return;
    if (use.instance !== arrival.instance) return use.end('the engine was cut off, and another process of its name came');
    clearTimeout(use.timer);
    use.client?.cameBack(door.address, door.channel);
    heedBytes(tunnel, use.client);
    this.changed();
  }

  private leftBy(presence: Presence): void {
    if (this.presence !== presence) return; // another stream of the engine has replaced this one
    this.presence = null;
    this.goneAtMs = performance.now();
    this.hasLeft = this.leftInOrder = presence.isLeaving;
    const { use } = this;
    if (use !== null && presence.isLeaving) use.end('the engine has left');
    else if (use !== null) {
      use.client?.wentAway(new EspalierError('ENGINE_LOST', 'the engine was cut off'));
      use.timer = setTimeout(() => use.end('the engine was cut off, and did not come back within its lease'), this.leaseLeftMs(use));
      use.timer.unref();
    }
    this.changed();
  }

  /**
   * Returns the time left of the lease. The engine counts it from the last renewal, which is not later than its last message, from which
   * this counts.
   */
  private leaseLeftMs({ client }: Use): number {
    return Math.max(0, this.options.leaseMs - (performance.now() - (client?.heardAtMs ?? -Infinity)));
  }

  /**
   * Ends a stream by which nothing comes any more, as if it had been cut, so that the engine dials in again. Returns false where the lease
   * is over.
   */
  private awaitSilent(use: Use): boolean {
    if (this.use !== use || this.presence === null || this.leaseLeftMs(use) === 0) return false;
    this.hangUp();
    return true;
  }

  /** Called when the engine says that it ends in good order. */
  leaves(tunnel: ByteTunnel): void {
    if (this.presence?.tunnel !== tunnel || this.presence.isLeaving) return;
    this.presence.isLeaving = true;
    this.changed();
  }

  get isLeaving(): boolean {
    return this.presence?.isLeaving ?? false;
  }

  hangUp(): void {
    this.presence?.door.close();
  }

  /** Called when it is known that a process that was cut off will not come back. */
  givenUp(): void {
    if (this.presence !== null) return;
    this.hasLeft = true;
    this.use?.end('the engine was cut off, and its process is over');
  }

  async look(timeoutMs: number) {
    if (this.presence === null) return null;
    const client = this.client('');
    return client.describe(timeoutMs).catch(() => null);
  }

  async visit() {
    const client = this.client('');
    return { client, about: await answering(this.last!.name, client), close: () => client.close() };
  }

  async connect(): Promise<EngineLink> {
    const { arrival, tunnel } = this.present();
    let end: (how: string) => void = () => undefined;
    const ended = new Promise<string>((resolve) => (end = resolve));
    const use: Use = { instance: arrival.instance, client: null, timer: undefined, end: (how) => this.endUse(use, () => end(how)) };
    this.use?.end('the engine is claimed again');
    this.use = use;
    try {
      return await claimEngine(
        this.options,
        (claim) => {
          use.client = this.client(claim);
          heedBytes(tunnel, use.client);
          return use.client;
        },
        {
          name: arrival.name,
          // Only this process uses the data folder, and only one supervisor has this engine, so no other claim for the folder is in use.
          afterFormerLife: true,
          ended,
          awaitSilent: () => this.awaitSilent(use),
          isAwaited: () => this.use === use && use.client?.isAway === true,
          hangUp: () => {
            if (this.use === use) this.hangUp();
            use.end('the connection was cut');
          },
        },
      );
    } catch (error) {
      use.end('the engine could not be claimed');
      throw error;
    }
  }

  private endUse(use: Use, notify: () => void): void {
    if (this.use === use) this.use = null;
    clearTimeout(use.timer);
    notify();
  }

  private client(claim: string): FarEngineClient {
    const { door } = this.present();
    const client = new FarEngineClient(door.address, claim, door.channel);
    client.onTransfer = (transfer) => (this.transfer = transfer);
    return client;
  }

  /** @throws EspalierError ENGINE_UNAVAILABLE */
  private present(): Presence {
    if (this.presence !== null) return this.presence;
    const how = this.hasLeft ? 'has left' : 'was cut off';
    throw new EspalierError(
      'ENGINE_UNAVAILABLE',
      `engine ${this.last?.name ?? ''} ${how}: it dials in again by itself, as long as it lives`,
    );
  }
}

/** Makes every byte that arrives a sign of life, such as those of a state on a slow connection. */
function heedBytes(tunnel: ByteTunnel, client: FarEngineClient | null): void {
  tunnel.onHeard = () => {
    if (client !== null) client.heardAtMs = performance.now();
  };
}
