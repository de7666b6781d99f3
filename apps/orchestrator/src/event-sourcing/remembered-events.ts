// Remembers events that this process appended. Its subscriptions bring them back, and they are then taken from memory rather than parsed
// and checked again. The memory counts only where the stored bytes equal those that were sent.
import type { NewEvent, StoredEvent } from '#event-store';

export class Remembered<Value> {
  private readonly entries = new Map<string, { sent: NewEvent; value: Value }>();

  constructor(private readonly most: number) {}

  /** Call this before the append, since the event may come back before the store's answer does. */
  remember(sent: NewEvent, value: Value): void {
    this.entries.delete(sent.id);
    this.entries.set(sent.id, { sent, value });
    const [oldest] = this.entries.keys();
    if (oldest !== undefined && this.entries.size > this.most) this.entries.delete(oldest);
  }

  find({ id, type, data }: Pick<StoredEvent, 'id' | 'type' | 'data'>): Value | null {
    const entry = this.entries.get(id);
    return entry !== undefined && entry.sent.type === type && Buffer.compare(entry.sent.data, data) === 0 ? entry.value : null;
  }
}
