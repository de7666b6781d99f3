import { randomUUID } from 'node:crypto';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { encodeReadEvent, type ResolvedEvent } from '../event-encoding.js';
import type { persistentPb } from '../pb.js';
import { LatencySamples } from './latency-samples.js';

export type ReadCall = ServerDuplexStream<persistentPb.ReadReq, Buffer | persistentPb.ReadResp>;

/** A message on its way through a group. */
export interface Message {
  resolved: ResolvedEvent;
  /** Id that the client acknowledges: of the link if there is one. */
  eventId: string;
  /** Revision or position in the source; undefined for a parked message that is being replayed. */
  sequence: number | undefined;
  /** Where the record itself is, to park it. */
  origin: { stream: string; revision: number };
  retryCount: number;
}

interface InFlight {
  message: Message;
  sentAtMs: number;
}

/** One connected client of a group. */
export class Consumer {
  readonly id = randomUUID();
  readonly latencies = new LatencySamples();
  totalItems = 0;
  itemsAtLastMeasurement = 0;
  lastMeasuredAtMs = Date.now();
  readonly connectedAtMs = Date.now();
  private readonly inFlight = new Map<string, InFlight[]>();
  private count = 0;

  constructor(
    private readonly call: ReadCall,
    readonly userName: string,
    readonly connectionName: string,
    private readonly slots: number,
    private readonly structuredUuid: boolean,
    /** Ends the call with an error of the group. */
    readonly drop: (error: unknown) => void,
  ) {}

  get peer(): string {
    return this.call.getPeer();
  }

  get availableSlots(): number {
    return Math.max(0, this.slots - this.count);
  }

  get inFlightCount(): number {
    return this.count;
  }

  send(message: Message): void {
    const same = this.inFlight.get(message.eventId) ?? [];
    same.push({ message, sentAtMs: Date.now() });
    this.inFlight.set(message.eventId, same);
    this.count += 1;
    this.totalItems += 1;
    this.call.write(encodeReadEvent({ ...message.resolved, retryCount: message.retryCount }, this.structuredUuid));
  }

  /** @returns the message that the client has answered; undefined for one that timed out or was never sent */
  take(eventId: string): Message | undefined {
    const same = this.inFlight.get(eventId);
    const first = same?.shift();
    if (!first) return undefined;
    if (same!.length === 0) this.inFlight.delete(eventId);
    this.count -= 1;
    this.latencies.add(Date.now() - first.sentAtMs);
    return first.message;
  }

  takeTimedOut(timeoutMs: number): Message[] {
    const before = Date.now() - timeoutMs;
    const late = [...this.inFlight.values()].flat().filter(({ sentAtMs }) => sentAtMs <= before);
    return late.flatMap(({ message }) => this.take(message.eventId) ?? []);
  }

  takeAll(): Message[] {
    const all = [...this.inFlight.values()].flat().map(({ message }) => message);
    this.inFlight.clear();
    this.count = 0;
    return all;
  }
}
