// The news of runs that train at the moment and are not recorded yet: reported steps and signs of life. They are lost with the process,
// which does no harm, since the steps are recorded with their segment.
import { Injectable } from '@nestjs/common';
import { toEspalierError } from '#protocol';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';
import type { LivePreparation, LiveWait } from './live-steps.js';

interface LiveRun {
  attempt: number;
  heardAtMs: number;
  steps: StepMeasurement[];
}

const VIEWS_CATCH_UP_MS = 2_000;

const ALL = '';

const PREPARATION_INTERVAL_MS = 250;

type Listener = (runId: string) => void;

@Injectable()
export class LiveProgress {
  private readonly runs = new Map<string, LiveRun>();
  private readonly waiting = new Map<string, LiveWait>();
  private queued: ReadonlyMap<string, string> = new Map();
  private readonly preparations = new Map<string, { progress: LivePreparation; toldAtMs: number }>();
  private readonly listeners = new Set<Listener>();
  /** The number of clients that watch a run, by its id. */
  private readonly watchers = new Map<string, number>();
  private readonly watchListeners = new Set<() => void>();

  /** Notes that a run's work can't go on and is tried again. Without a run, the work of all runs waits. */
  waits(error: unknown, runId = ALL): void {
    const { code, message } = toEspalierError(error);
    const before = this.waiting.get(runId);
    this.waiting.set(runId, { code, message, sinceMs: before?.sinceMs ?? Date.now() });
    if (before?.code !== code) this.notify(runId);
  }

  goesOn(runId = ALL): void {
    if (this.waiting.delete(runId)) this.notify(runId);
  }

  /** Notes for each run that waits for its turn what it waits for, in words. */
  queue(queued: ReadonlyMap<string, string>): void {
    const before = this.queued;
    this.queued = queued;
    for (const runId of new Set([...before.keys(), ...queued.keys()])) if (before.get(runId) !== queued.get(runId)) this.notify(runId);
  }

  queuedFor(runId: string): string {
    return this.queued.get(runId) ?? '';
  }

  /** Tells listeners at most a few times a second, since people watch it. */
  prepares(runId: string, progress: LivePreparation): void {
    const before = this.preparations.get(runId);
    const now = Date.now();
    const tells = before === undefined || before.progress.doing !== progress.doing || now - before.toldAtMs >= PREPARATION_INTERVAL_MS;
    this.preparations.set(runId, { progress, toldAtMs: tells ? now : before.toldAtMs });
    if (tells) this.notify(runId);
  }

  endPreparation(runId: string): void {
    const last = this.preparations.get(runId);
    // The progress stays a moment longer, because views that have not yet read the event of its end would show an unprepared run.
    setTimeout(() => {
      if (this.preparations.get(runId) === last && this.preparations.delete(runId)) this.notify(runId);
    }, VIEWS_CATCH_UP_MS).unref();
  }

  preparationOf(runId: string): LivePreparation | null {
    return this.preparations.get(runId)?.progress ?? null;
  }

  waitOf(runId: string): LiveWait | null {
    return this.waiting.get(runId) ?? this.waiting.get(ALL) ?? null;
  }

  /** Notes a sign of life of the run's engine. */
  heard(runId: string, attempt: number): void {
    const live = this.runs.get(runId);
    if (live === undefined || live.attempt !== attempt) this.runs.set(runId, { attempt, heardAtMs: Date.now(), steps: [] });
    else live.heardAtMs = Date.now();
  }

  report(runId: string, attempt: number, steps: StepMeasurement[]): void {
    this.heard(runId, attempt);
    const known = this.runs.get(runId)!.steps;
    for (const step of steps) known.push(step);
    this.notify(runId);
  }

  /** Forgets the steps below `step`, which are recorded now. */
  recorded(runId: string, step: number): void {
    const live = this.runs.get(runId);
    if (live !== undefined) live.steps = live.steps.filter((one) => one.step >= step);
  }

  /** Forgets the steps of an attempt that has ended. Those that it did not record do not count. */
  ended(runId: string): void {
    const live = this.runs.get(runId);
    if (live === undefined) return;
    live.steps = [];
    this.waiting.delete(runId);
    this.notify(runId);
    // The run stays a moment longer, because views that have not yet read the event of its end would report its engine as dead.
    setTimeout(() => {
      if (this.runs.get(runId) === live) this.runs.delete(runId);
    }, VIEWS_CATCH_UP_MS).unref();
  }

  heardAt(runId: string): number | null {
    return this.runs.get(runId)?.heardAtMs ?? null;
  }

  since(runId: string, step: number): StepMeasurement[] {
    return (this.runs.get(runId)?.steps ?? []).filter((one) => one.step >= step);
  }

  get unrecordedSteps(): number {
    return [...this.runs.values()].reduce((sum, { steps }) => sum + steps.length, 0);
  }

  /** The times when the present waits began, in milliseconds of the epoch. */
  get waitsSinceMs(): number[] {
    return [...this.waiting.values()].map(({ sinceMs }) => sinceMs);
  }

  heardRuns(): string[] {
    return [...this.runs.keys()];
  }

  onReport(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Notes that a client watches the run. Call the result when it stops. */
  watch(runId: string): () => void {
    this.count(runId, 1);
    return () => this.count(runId, -1);
  }

  isWatched(runId: string): boolean {
    return this.watchers.has(runId);
  }

  /** The listener is called when a client begins or stops to watch any run. Call the result to remove it. */
  onWatched(listener: () => void): () => void {
    this.watchListeners.add(listener);
    return () => this.watchListeners.delete(listener);
  }

  private count(runId: string, change: 1 | -1): void {
    const before = this.watchers.get(runId) ?? 0;
    if (before + change === 0) this.watchers.delete(runId);
    else this.watchers.set(runId, before + change);
    if (before === 0 || before + change === 0) for (const listener of this.watchListeners) listener();
  }

  private notify(runId: string): void {
    for (const listener of this.listeners) listener(runId);
  }
}
