import { newJsonEvent } from '../event-log.js';
import type { Store } from '../store.js';
import type { Message } from './consumer.js';

/** Messages that could not be handled, kept as links in a stream of their own until a client has them replayed. */
export class ParkedMessages {
  readonly stream: string;

  constructor(
    private readonly store: Store,
    source: string,
    group: string,
  ) {
    this.stream = `$persistentsubscription-${source}::${group}-parked`;
  }

  async park(message: Message, reason: string): Promise<void> {
    const metadata = JSON.stringify({ added: new Date().toISOString(), reason });
    const { stream, revision } = message.origin;
    const link = { ...newJsonEvent('$>', `${revision}@${stream}`, metadata), isJson: false };
    await this.store.append(this.stream, [link], 'any');
  }

  count(): number {
    const head = this.store.log.heads.find(this.stream);
    return head ? Math.max(0, head.lastRevision + 1 - this.store.reader.firstVisible(head)) : 0;
  }

  /** Takes messages out, oldest first. @param stopAt revision of the parked stream at which to stop, exclusive */
  async take(stopAt: number | undefined): Promise<Message['origin'][]> {
    const head = this.store.log.heads.find(this.stream);
    if (!head || head.lastRevision < 0) return [];
    const end = Math.min(head.lastRevision + 1, stopAt ?? Number.MAX_SAFE_INTEGER);
    const origins: Message['origin'][] = [];
    let next = this.store.reader.firstVisible(head);
    while (next >= 0 && next < end) {
      const chunk = this.store.reader.readStream(head, next, 'forwards', end - next);
      for (const { data } of chunk.records) origins.push(originOf(data.toString('utf8')));
      next = chunk.next;
    }
    if (origins.length > 0) await this.truncateBefore(end);
    return origins;
  }

  async delete(): Promise<void> {
    if (this.store.log.heads.find(this.stream)) await this.store.transact((log) => log.softDelete(this.stream, 'any'));
  }

  private async truncateBefore(revision: number): Promise<void> {
    const metadata = newJsonEvent('$metadata', JSON.stringify({ $tb: revision }));
    await this.store.append(`$$${this.stream}`, [metadata], 'any');
  }
}

function originOf(link: string): Message['origin'] {
  const at = link.indexOf('@');
  return { revision: Number(link.slice(0, at)), stream: link.slice(at + 1) };
}
