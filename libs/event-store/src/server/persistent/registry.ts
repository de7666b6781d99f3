import { newJsonEvent, type EventLog } from '../event-log.js';
import type { Store } from '../store.js';
import { alreadyExists, doesNotExist, dropped } from './errors.js';
import { PersistentGroup } from './group.js';
import type { GroupDefinition, GroupSettings } from './settings.js';
import { ALL } from './source.js';

const CONFIG_STREAM = '$persistentSubscriptionConfig';

interface Row {
  source: string;
  group_name: string;
  definition: string;
  checkpoint: number | null;
}

/** All persistent subscriptions of the store. What a group is, and how far it has come, survives restarts. */
export class PersistentSubscriptions {
  private groups = new Map<string, PersistentGroup>();

  constructor(private readonly store: Store) {
    this.load();
  }

  find(source: string, name: string): PersistentGroup {
    const group = this.groups.get(keyOf(source, name));
    if (!group) throw doesNotExist(source, name);
    return group;
  }

  /** @param source undefined lists all; @throws when a source is named that has no group */
  list(source?: string): PersistentGroup[] {
    const all = [...this.groups.values()];
    if (source === undefined) return all;
    const found = all.filter((group) => group.source.name === source);
    if (found.length === 0) throw doesNotExist(source, '');
    return found;
  }

  async create(source: string, name: string, settings: GroupSettings, filter?: GroupDefinition['filter']): Promise<void> {
    if (this.groups.has(keyOf(source, name))) throw alreadyExists(source, name);
    const definition: GroupDefinition = {
      settings,
      firstToDeliver: this.firstToDeliver(source, settings),
      ...(filter ? { filter } : {}),
    };
    await this.store.transact((log) => {
      const { changes } = log.database
        .prepare('INSERT OR IGNORE INTO persistent_subscriptions (source, group_name, definition) VALUES (?, ?, ?)')
        .run(source, name, JSON.stringify(definition));
      if (changes > 0) tell(log, 'created', source, name, definition);
    });
    if (this.groups.has(keyOf(source, name))) throw alreadyExists(source, name);
    this.add(source, name, definition, undefined);
  }

  /** Connected consumers are dropped and come back to the new settings; the group goes on from its checkpoint. */
  async update(source: string, name: string, settings: GroupSettings): Promise<void> {
    const group = this.find(source, name);
    await group.close(dropped(source, name));
    const definition: GroupDefinition = {
      ...group.definition,
      settings,
      firstToDeliver: this.firstToDeliver(source, settings),
    };
    await this.store.transact((log) => {
      log.database
        .prepare('UPDATE persistent_subscriptions SET definition = ? WHERE source = ? AND group_name = ?')
        .run(JSON.stringify(definition), source, name);
      tell(log, 'updated', source, name, definition);
    });
    this.add(source, name, definition, group.checkpointed);
  }

  async delete(source: string, name: string): Promise<void> {
    const group = this.find(source, name);
    this.groups.delete(keyOf(source, name));
    await group.close(dropped(source, name));
    await group.parked.delete();
    await this.store.transact((log) => {
      log.database.prepare('DELETE FROM persistent_subscriptions WHERE source = ? AND group_name = ?').run(source, name);
      tell(log, 'deleted', source, name);
    });
  }

  async restart(): Promise<void> {
    for (const group of this.groups.values()) await group.close(dropped(group.source.name, group.name));
    this.load();
  }

  async close(error: unknown): Promise<void> {
    await Promise.all([...this.groups.values()].map((group) => group.close(error)));
    this.groups.clear();
  }

  private load(): void {
    this.groups = new Map();
    const rows = this.store.database.prepare<[], Row>('SELECT * FROM persistent_subscriptions').all();
    for (const row of rows) {
      this.add(row.source, row.group_name, JSON.parse(row.definition) as GroupDefinition, row.checkpoint ?? undefined);
    }
  }

  private add(source: string, name: string, definition: GroupDefinition, checkpoint: number | undefined): void {
    const save = (sequence: number) =>
      this.store.transact(({ database }) => {
        database
          .prepare('UPDATE persistent_subscriptions SET checkpoint = ? WHERE source = ? AND group_name = ?')
          .run(sequence, source, name);
      });
    this.groups.set(keyOf(source, name), new PersistentGroup(this.store, source, name, definition, checkpoint, save));
  }

  private firstToDeliver(source: string, { startFrom }: GroupSettings): number {
    if (startFrom === 'start') return 0;
    if (startFrom !== 'end') return startFrom;
    if (source === ALL) return this.store.log.endPosition + 1;
    return (this.store.log.heads.find(source)?.lastRevision ?? -1) + 1;
  }
}

/** As on the real server, a change of a group is an event too: $all tells when it came and what it was. */
function tell(log: EventLog, change: string, source: string, name: string, definition?: GroupDefinition): void {
  const body = JSON.stringify({ change, stream: source, group: name, ...definition });
  log.write(CONFIG_STREAM, [newJsonEvent('$PersistentConfig', body)]);
}

function keyOf(source: string, name: string): string {
  return `${source}\n${name}`;
}
