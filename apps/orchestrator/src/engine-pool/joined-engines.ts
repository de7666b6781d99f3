// The engines that dial in. Each has a slot of its own name, from its arrival until it has left or was away for too long.
import type { Logger } from 'pino';
import { EspalierError, invalidField, type ByteTunnel } from '#protocol';
import type { Arrival, JoinedEngine } from '../engines/joined-engine.js';
import type { EnginePool } from './engine-pool.js';
import type { EngineSlot } from './engine-slot.js';

/** The time for which an engine that was cut off keeps its slot. Runs with its numerics wait for it. */
const KEPT_WHILE_AWAY_MS = 600_000;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const INSTANCE = /^[\w-]{8,64}$/;
const HOST_CHARACTERS_MAX = 255;

export interface JoinedSlot {
  engine: JoinedEngine;
  slot: EngineSlot;
}

export class JoinedEngines {
  private readonly joined = new Map<string, JoinedSlot>();
  private isClosed = false;

  constructor(
    private readonly pool: EnginePool,
    private readonly make: (name: string, changed: () => void) => JoinedSlot,
    private readonly log: Pick<Logger, 'info'>,
  ) {
    pool.onChange(() => this.lookAgain());
  }

  /** @throws EspalierError FIELD_OUT_OF_RANGE, ENGINE_NAME_TAKEN, SHUTTING_DOWN */
  requireRoom({ name, instance, host }: Pick<Arrival, 'name' | 'instance' | 'host'>): void {
    if (this.isClosed) throw new EspalierError('SHUTTING_DOWN', 'the orchestrator is stopping');
    if (!NAME.test(name))
      throw invalidField(
        'FIELD_OUT_OF_RANGE',
        'hello.name',
        `is "${name}": 1 to 64 letters, digits and . _ - are allowed, a letter or digit first`,
      );
    if (!INSTANCE.test(instance))
      throw invalidField(
        'FIELD_OUT_OF_RANGE',
        'hello.instance',
        'must be 8 to 64 letters, digits, _ and -, others than those of any other process',
      );
    if (host.length > HOST_CHARACTERS_MAX)
      throw invalidField('FIELD_OUT_OF_RANGE', 'hello.host', `has ${host.length} characters; at most ${HOST_CHARACTERS_MAX} are allowed`);
    const known = this.joined.get(name);
    if (known === undefined && this.pool.slot(name) !== undefined)
      throw new EspalierError('ENGINE_NAME_TAKEN', `an engine of this server has the name ${name}: give the one that joins another --name`);
    const there = known?.engine;
    if (there == null || there.instance === null || there.instance === instance || there.joined === undefined) return;
    const { host: otherHost, since } = there.joined;
    throw new EspalierError(
      'ENGINE_NAME_TAKEN',
      `an engine of the name ${name} joined from ${otherHost} at ${since.toISOString()} and is still there: give this one another --name`,
    );
  }

  /** Takes an engine in. Resolves when the engine's stream has ended. @throws the errors of `requireRoom` */
  async arrive(arrival: Arrival, tunnel: ByteTunnel): Promise<void> {
    this.requireRoom(arrival);
    const { name, host, peer, admittedAs } = arrival;
    const known = this.joined.get(name) ?? this.make(name, () => this.lookAgain());
    this.joined.set(name, known);
    const { ended } = await known.engine.arrive(arrival, tunnel);
    this.log.info({ engine: name, host, peer, admittedAs }, 'an engine joined');
    if (!this.pool.slots.includes(known.slot)) this.pool.add(known.slot);
    await ended;
    this.log.info({ engine: name, host, inGoodOrder: known.engine.hasLeft }, 'an engine is gone');
    if (this.joined.get(name) === known) setTimeout(() => this.forgetThoseGone(), KEPT_WHILE_AWAY_MS + 1_000).unref();
  }

  leaves(name: string, tunnel: ByteTunnel): void {
    this.joined.get(name)?.engine.leaves(tunnel);
  }

  /** Called when the process of this engine has ended and will not come back. An engine that is still connected is left alone. */
  givenUp(name: string): void {
    this.joined.get(name)?.engine.givenUp();
    this.forgetThoseGone();
  }

  /** Hangs up all engines, because the server stops. */
  close(): void {
    this.isClosed = true;
    for (const { engine } of this.joined.values()) engine.hangUp();
  }

  private lookAgain(): void {
    this.closeConnectionsOfLeavers();
    this.forgetThoseGone();
  }

  /** Hangs up engines that leave. An engine that still works stays until its last answers have been taken. */
  private closeConnectionsOfLeavers(): void {
    for (const { engine, slot } of this.joined.values()) if (engine.isLeaving && !slot.isTaken) engine.hangUp();
  }

  private forgetThoseGone(): void {
    for (const [name, { engine, slot }] of this.joined) {
      const awayMs = engine.goneForMs();
      if (slot.isTaken || awayMs < 0 || (!engine.hasLeft && awayMs < KEPT_WHILE_AWAY_MS)) continue;
      this.joined.delete(name);
      void this.pool.remove(slot);
    }
  }
}
