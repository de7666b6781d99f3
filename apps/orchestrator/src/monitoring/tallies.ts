// The figures of this process that count up from its start. Names and units follow the conventions of Prometheus.
import { Injectable } from '@nestjs/common';
import { Counter, Histogram, Registry } from 'prom-client';

/**
 * The limits of the histogram of appends. An append needs a sync of the disk, which takes milliseconds, or seconds where the disk or the
 * store is in trouble.
 */
const APPEND_SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

@Injectable()
export class Tallies {
  readonly registry = new Registry();
  readonly recordedSteps = this.counter('espalier_recorded_steps_total', 'Training steps that were recorded.');
  readonly recordedTokens = this.counter('espalier_recorded_tokens_total', 'Tokens of the training steps that were recorded.');
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
