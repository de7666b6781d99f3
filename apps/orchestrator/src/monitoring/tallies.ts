// The figures of this process that count up from its start. Names and units follow the conventions of Prometheus.
import { Injectable } from '@nestjs/common';
import { Counter, Histogram, Registry } from 'prom-client';

/**
 * The limits of the histogram of appends. An append needs a sync of the disk, which takes milliseconds, or seconds where the disk or the
 * store is in trouble.
 */
const APPEND_SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const OUTCOMES: Readonly<Record<string, string>> = {
  RunCompleted: 'completed',
  RunFailed: 'failed',
  RunCancelled: 'cancelled',
  RunPaused: 'paused_by_server',
};

@Injectable()
export class Tallies {
  readonly registry = new Registry();
  readonly recordedSteps = this.counter('espalier_recorded_steps_total', 'Training steps that were recorded.');
  readonly recordedTokens = this.counter('espalier_recorded_tokens_total', 'Tokens of the training steps that were recorded.');
  readonly runOutcomes = this.counter(
    'espalier_run_outcomes_total',
    'Runs that completed, failed, were cancelled, or were paused by this server because they could not go on.',
    ['outcome'],
  );
  readonly engineLosses = this.counter('espalier_engine_losses_total', 'How often an engine was lost, the engines of a fleet included.');
  readonly fleetJobFailures = this.counter(
    'espalier_fleet_job_failures_total',
    'Jobs of the fleet that the cluster refused, or that ended before their engine joined.',
  );
  readonly failedCalls = this.counter(
    'espalier_failed_calls_total',
    'Calls that ended with an error, by its stable code. Calls that were refused have codes such as TOKEN_WRONG and ROLE_TOO_LOW.',
    ['code'],
  );
  readonly refusedConnections = this.counter(
    'espalier_refused_connections_total',
    'Connections that were closed before anything was read, by the reason.',
    ['reason'],
  );
  readonly webhookDeliveries = this.counter(
    'espalier_webhook_deliveries_total',
    'Attempts to deliver a notification, by the webhook and the outcome, and notifications that were given up after a day.',
    ['webhook', 'outcome'],
  );
  private readonly appends = new Histogram({
    name: 'espalier_store_append_duration_seconds',
    help: 'Time that the event store took for an append, appends that failed included.',
    buckets: APPEND_SECONDS,
    registers: [this.registry],
  });

  constructor() {
    // Prometheus sees an increase only of a value that was there before.
    for (const outcome of Object.values(OUTCOMES)) this.runOutcomes.inc({ outcome }, 0);
  }

  /** Counts the facts that end a run or hold it up. */
  countOutcomes(facts: readonly { type: string; data: object }[]): void {
    for (const { type, data } of facts) {
      const outcome = type === 'RunPaused' && !('by' in data && data.by === 'obstacle') ? undefined : OUTCOMES[type];
      if (outcome !== undefined) this.runOutcomes.inc({ outcome });
    }
  }

  async timeAppend<T>(append: () => Promise<T>): Promise<T> {
    const observe = this.appends.startTimer();
    try {
      return await append();
    } finally {
      observe();
    }
  }

  private counter<Label extends string = never>(name: string, help: string, labelNames: Label[] = []): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }
}
