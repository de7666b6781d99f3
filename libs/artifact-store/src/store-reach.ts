// Tracks whether a remote store can be read and written. Each operation reports whether it worked. While reads or writes fail, a probe
// finds out when they work again.
import type { ArtifactStoreError } from './artifact-store.errors.js';

export type Access = 'read' | 'write';

const PROBE_EVERY_MS = 5_000;

export class StoreReach {
  private readonly failing = new Map<Access, ArtifactStoreError>();
  private timer: NodeJS.Timeout | undefined;
  private readonly listeners = new Set<() => void>();
  /** Repeats an operation of the given kind. The operation reports its own success. */
  probe: (access: Access) => Promise<unknown> = () => Promise.resolve();

  /** The problem with the store; null: none is known. */
  get problem(): ArtifactStoreError | null {
    return this.failing.get('write') ?? this.failing.get('read') ?? null;
  }

  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  worked(access: Access): void {
    if (this.failing.delete(access)) this.tell();
  }

  failed(access: Access, error: ArtifactStoreError): void {
    const before = this.failing.get(access);
    this.failing.set(access, error);
    this.timer ??= setInterval(() => this.look(), PROBE_EVERY_MS).unref();
    if (before?.code !== error.code) this.tell();
  }

  private tell(): void {
    if (this.failing.size === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
    for (const listener of this.listeners) listener();
  }

  private look(): void {
    for (const access of this.failing.keys()) void this.probe(access).catch(() => undefined);
  }
}
