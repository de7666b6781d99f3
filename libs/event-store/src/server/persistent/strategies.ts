import { crc32 } from 'node:zlib';
import { parseObject } from '../stream-metadata.js';
import type { Consumer, Message } from './consumer.js';
import type { StrategyName } from './settings.js';

/** Picks the consumer for a message; undefined when the right one has no room. */
export interface Strategy {
  choose(message: Message, consumers: Consumer[]): Consumer | undefined;
  /** When a message has to wait for its consumer, may the next one be tried? */
  readonly mayOvertake: boolean;
}

export function createStrategy(name: StrategyName): Strategy {
  switch (name) {
    case 'DispatchToSingle':
      return { mayOvertake: false, choose: (_message, consumers) => consumers.find(hasRoom) };
    case 'RoundRobin':
      return new RoundRobin();
    case 'Pinned':
      return new Pinned(streamKey);
    case 'PinnedByCorrelation':
      return new Pinned(correlationKey);
  }
}

function hasRoom(consumer: Consumer): boolean {
  return consumer.availableSlots > 0;
}

class RoundRobin implements Strategy {
  readonly mayOvertake = false;
  private turn = 0;

  choose(_message: Message, consumers: Consumer[]): Consumer | undefined {
    for (let step = 0; step < consumers.length; step += 1) {
      const consumer = consumers[(this.turn + step) % consumers.length]!;
      if (!hasRoom(consumer)) continue;
      this.turn = (this.turn + step + 1) % consumers.length;
      return consumer;
    }
    return undefined;
  }
}

const BUCKETS = 1024;

/** Messages with the same key go to the same consumer while it is connected, so their order is kept. */
class Pinned implements Strategy {
  readonly mayOvertake = true;
  private readonly owners = new Map<number, Consumer>();

  constructor(private readonly keyOf: (message: Message) => string) {}

  choose(message: Message, consumers: Consumer[]): Consumer | undefined {
    const bucket = crc32(this.keyOf(message)) % BUCKETS;
    let owner = this.owners.get(bucket);
    if (!owner || !consumers.includes(owner)) {
      owner = this.leastLoaded(consumers);
      if (!owner) return undefined;
      this.owners.set(bucket, owner);
    }
    return hasRoom(owner) ? owner : undefined;
  }

  private leastLoaded(consumers: Consumer[]): Consumer | undefined {
    const buckets = new Map(consumers.map((consumer) => [consumer, 0]));
    for (const owner of this.owners.values()) if (buckets.has(owner)) buckets.set(owner, buckets.get(owner)! + 1);
    return [...buckets].sort(([, a], [, b]) => a - b)[0]?.[0];
  }
}

function streamKey({ resolved }: Message): string {
  return (resolved.event ?? resolved.link)!.stream;
}

function correlationKey(message: Message): string {
  const record = (message.resolved.event ?? message.resolved.link)!;
  const correlationId = parseObject(record.metadata).$correlationId;
  return typeof correlationId === 'string' ? correlationId : streamKey(message);
}
