import type { Store } from '../store.js';
import { Consumer, type Message } from './consumer.js';
import { dropped, maximumReached } from './errors.js';
import { ParkedMessages } from './parked-messages.js';
import { Progress } from './progress.js';
import type { GroupDefinition } from './settings.js';
import { Source } from './source.js';
import { createStrategy, type Strategy } from './strategies.js';

const TIMEOUT_LOOK_MS = 100;

/**
 * A persistent subscription: one place in a stream, shared by any number of consumers. A message is delivered until
 * it is acknowledged, skipped or parked. All state but the checkpoint and the parked messages is in memory; after a
 * restart the group goes on from its checkpoint and delivers again what was not acknowledged before it.
 */
export class PersistentGroup {
  readonly parked: ParkedMessages;
  readonly source: Source;
  readonly consumers: Consumer[] = [];
  totalItems = 0;
  private readonly strategy: Strategy;
  private readonly progress: Progress;
  private readonly ready: Message[] = [];
  private readonly retries: Message[] = [];
  private next: number;
  private savedCheckpoint: number | undefined;
  private readonly timers: NodeJS.Timeout[] = [];
  private readonly ignore: () => void;
  private pumping = false;

  constructor(
    store: Store,
    source: string,
    readonly name: string,
    readonly definition: GroupDefinition,
    checkpoint: number | undefined,
    private readonly saveCheckpoint: (sequence: number) => Promise<void>,
  ) {
    const { settings } = definition;
    this.source = new Source(store, source, definition);
    this.parked = new ParkedMessages(store, source, name);
    this.strategy = createStrategy(settings.strategy);
    this.savedCheckpoint = checkpoint;
    this.progress = new Progress(checkpoint);
    this.next = checkpoint === undefined ? definition.firstToDeliver : checkpoint + 1;
    this.ignore = this.source.listen(() => this.pump());
    this.timers.push(setInterval(() => this.retryTimedOut(), TIMEOUT_LOOK_MS).unref());
    if (settings.checkpointAfterMs > 0) {
      this.timers.push(setInterval(() => void this.checkpoint(settings.minCheckpointCount), settings.checkpointAfterMs).unref());
    }
  }

  get checkpointed(): number | undefined {
    return this.savedCheckpoint;
  }

  get readyCount(): number {
    return this.ready.length;
  }

  get retryCount(): number {
    return this.retries.length;
  }

  get inFlightCount(): number {
    return this.consumers.reduce((sum, consumer) => sum + consumer.inFlightCount, 0);
  }

  /** @throws when the group has as many consumers as it may have */
  join(consumer: Consumer): void {
    const { maxSubscriberCount } = this.definition.settings;
    if (maxSubscriberCount > 0 && this.consumers.length >= maxSubscriberCount) {
      throw maximumReached(this.source.name, this.name);
    }
    this.consumers.push(consumer);
    this.pump();
  }

  /** Messages that the consumer had in hand go to others, or to itself when it comes back. */
  leave(consumer: Consumer): void {
    const index = this.consumers.indexOf(consumer);
    if (index < 0) return;
    this.consumers.splice(index, 1);
    for (const event of consumer.takeAll()) this.retries.push(event);
    this.retries.sort((a, b) => (a.sequence ?? -1) - (b.sequence ?? -1));
    this.pump();
  }

  acknowledge(consumer: Consumer, eventIds: string[]): void {
    for (const eventId of eventIds) this.finish(consumer.take(eventId));
    this.pump();
  }

  skip(consumer: Consumer, eventIds: string[]): void {
    this.acknowledge(consumer, eventIds);
  }

  retry(consumer: Consumer, eventIds: string[], reason: string): void {
    for (const eventId of eventIds) this.retryOrPark(consumer.take(eventId), reason);
    this.pump();
  }

  park(consumer: Consumer, eventIds: string[], reason: string): void {
    for (const eventId of eventIds) this.parkMessage(consumer.take(eventId), reason);
    this.pump();
  }

  /** The consumer gives up: its messages go to others and its call ends. */
  stop(consumer: Consumer): void {
    this.leave(consumer);
    consumer.drop(dropped(this.source.name, this.name));
  }

  async replayParked(stopAt: number | undefined): Promise<void> {
    for (const origin of await this.parked.take(stopAt)) {
      const message = this.source.replay(origin);
      if (message) this.retries.push(message);
    }
    this.pump();
  }

  /** Ends all calls with `error` and writes the checkpoint; the group is done after that. */
  async close(error: unknown): Promise<void> {
    this.ignore();
    this.timers.forEach(clearInterval);
    for (const consumer of this.consumers.splice(0)) {
      consumer.takeAll();
      consumer.drop(error);
    }
    await this.checkpoint(1);
  }

  private finish(message: Message | undefined): void {
    if (!message) return;
    this.totalItems += 1;
    if (message.sequence === undefined) return;
    this.progress.finish(message.sequence);
    void this.checkpoint(Math.max(1, this.definition.settings.maxCheckpointCount));
  }

  private retryOrPark(message: Message | undefined, reason: string): void {
    if (!message) return;
    if (message.retryCount >= this.definition.settings.maxRetryCount) {
      this.parkMessage(message, reason || 'retried as often as the settings allow');
      return;
    }
    this.retries.push({ ...message, retryCount: message.retryCount + 1 });
  }

  /** Finished only when the parked copy is durable: a crash in between delivers again rather than loses. */
  private parkMessage(message: Message | undefined, reason: string): void {
    if (!message) return;
    this.parked.park(message, reason).then(
      () => this.finish(message),
      () => {
        this.retries.push(message);
        this.pump();
      },
    );
  }

  private retryTimedOut(): void {
    const { messageTimeoutMs } = this.definition.settings;
    if (messageTimeoutMs <= 0) return;
    const late = this.consumers.flatMap((consumer) => consumer.takeTimedOut(messageTimeoutMs));
    for (const message of late) this.retryOrPark(message, 'no answer within the message timeout');
    if (late.length > 0) this.pump();
  }

  private async checkpoint(minimumCount: number): Promise<void> {
    const sequence = this.progress.lastCompleted;
    if (sequence === undefined || sequence === this.savedCheckpoint || this.progress.finishedCount < minimumCount) return;
    this.progress.resetFinished();
    this.savedCheckpoint = sequence;
    // A checkpoint that can't be written is written with the next one; until then a restart repeats more.
    await this.saveCheckpoint(sequence).catch(() => {});
  }

  /** Reads ahead and hands out until consumers or events run out. */
  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    try {
      while (this.consumers.some((consumer) => consumer.availableSlots > 0)) {
        const filled = this.fill();
        const sent = this.handOut(this.retries) + this.handOut(this.ready);
        if (!filled && sent === 0) break;
      }
    } finally {
      this.pumping = false;
    }
  }

  /** @returns true when the source moved on */
  private fill(): boolean {
    const { readBatchSize, historyBufferSize } = this.definition.settings;
    const room = Math.max(1, historyBufferSize) - this.ready.length;
    if (this.ready.length >= Math.max(1, readBatchSize) || room <= 0) return false;
    const chunk = this.source.read(this.next, room);
    for (const message of chunk.messages) {
      this.progress.begin(message.sequence!);
      this.ready.push(message);
    }
    if (chunk.scannedTo === undefined) return false;
    this.progress.passOver(chunk.scannedTo);
    this.next = chunk.scannedTo + 1;
    return true;
  }

  private handOut(queue: Message[]): number {
    let sent = 0;
    let index = 0;
    while (index < queue.length) {
      const consumer = this.strategy.choose(queue[index]!, this.consumers);
      if (consumer) {
        consumer.send(queue.splice(index, 1)[0]!);
        sent += 1;
      } else if (this.strategy.mayOvertake) {
        index += 1;
      } else {
        break;
      }
    }
    return sent;
  }
}
