// Tracks whether a remote store can be read and written. Each operation reports whether it worked. While reads or writes fail, a probe
// finds out when they work again.
import type { ArtifactStoreError } from './artifact-store.errors.js';

export type Access = 'read' | 'write';

const PROBE_EVERY_MS = 5_000;

export class StoreReach {
  private readonly failing = new Map<Access, ArtifactStoreError>();
  private timer: NodeJS.Timeout | undefined;
  private readonly listeners = new Set<() => void>();
  private reportedCode: string | undefined; // the code of the problem that the listeners know of
  /** Repeats an operation of the given kind. The operation reports its own success. */
  probe: (access: Access) => Promise<unknown> = () => Promise.resolve();

  /** The problem with the store; null: none is known. */
  get problem(): ArtifactStoreError | null {
    return this.failing.get('write') ?? this.failing.get('read') ?? null;
  }

  /** The listener is called when the problem is another one, or is over. Reads and writes often have the same one. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  worked(access: Access): void {
    this.failing.delete(access);
    this.notify();
  }

  failed(access: Access, error: ArtifactStoreError): void {
    this.failing.set(access, error);
    this.timer ??= setInterval(() => this.look(), PROBE_EVERY_MS).unref();
    this.notify();
  }

  private notify(): void {
    if (this.failing.size === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
    const code = this.problem?.code;
    if (code === this.reportedCode) return;
    this.reportedCode = code;
    for (const listener of this.listeners) listener();
  }

  private look(): void {
    for (const access of this.failing.keys()) void this.probe(access).catch(() => undefined);
  }
}
