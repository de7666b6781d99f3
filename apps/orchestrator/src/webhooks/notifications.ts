// Decides which recorded event leads to which notification, and writes the notification. All functions are pure.
import { hasMissedTarget } from '#comparison';
import { comparableOf } from '../pruning-run/aggregate/headline.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { PruningRunEvent, PruningRunEventData, RecordedEvent } from '../pruning-run/record/pruning-run.events.js';
import type { WebhookEvent } from './webhook-file.js';

export interface Notification {
  /** The same id at each attempt and from each orchestrator, so that a receiver can drop a notification that it has seen. */
  id: string;
  /** The time of the event, in ISO 8601. */
  time: string;
  event: WebhookEvent;
  run: { id: string; name: string | null; failure?: { code: string; message: string } } | null;
  figures: Record<string, number | string | null>;
}

/** The types of events that lead to notifications. The bytes of other events need not be read. */
export const NOTIFIED_TYPES: ReadonlySet<string> = new Set<PruningRunEvent['type']>(['RunCompleted', 'RunFailed']);

/** The codes of runs that failed because their loss or a gradient was not finite. */
const DIVERGED = new Set(['STEPS_SKIPPED', 'TRAINING_DIVERGED']);

/**
 * @param eventId the id of the stored event
 * @param run the run as it was right after the event, or null where its record can't be read
 */
export function notificationsOf(event: RecordedEvent, eventId: string, runId: string, run: PruningRunState | null): Notification[] {
  const about = { id: runId, name: run?.name ?? null };
  const notification = (kind: WebhookEvent, rest: Pick<Notification, 'run' | 'figures'>): Notification => ({
    id: `${eventId}.${kind}`,
    time: event.at,
    event: kind,
    ...rest,
  });
  if (event.type === 'RunFailed') {
    const { step, code, message } = event.data;
    const rest = { run: { ...about, failure: { code, message } }, figures: { step } };
    return [notification('run_failed', rest), ...(DIVERGED.has(code) ? [notification('run_diverged', rest)] : [])];
  }
  if (event.type === 'RunCompleted') {
    const { figures, missed } = resultOf(event.data, run);
    return [notification('run_done', { run: about, figures }), ...(missed ? [notification('target_missed', { run: about, figures })] : [])];
  }
  return [];
}

function resultOf(done: PruningRunEventData<'RunCompleted'>, run: PruningRunState | null) {
  const { step, hardSparsity, targetSparsity, trainingSeconds } = done;
  const { masked = null, intact = null } = run === null ? {} : comparableOf(run);
  return {
    figures: {
      step,
      hard_sparsity: hardSparsity,
      target_sparsity: targetSparsity,
      training_seconds: trainingSeconds,
      perplexity: masked?.value ?? null,
      perplexity_of_intact_model: intact?.value ?? null,
    },
    missed: hasMissedTarget({ completed: true, hardSparsity, targetSparsity }),
  };
}
