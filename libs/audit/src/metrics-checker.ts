// Checks the metrics stream of a run against its MasksUpdated events.
import { canonicalJson, sha256Hex, uuidOf } from './canonical-json.js';
import { schemaProblem } from './event-schemas.js';
import { stepsMeasuredSchema, type StepsMeasured } from './steps-schema.js';
import { MasksChecker } from './masks-checker.js';
import { hasMetadata, METADATA_FOUND, type HistoryChecker, type NamedBatch, type Problem, type RawEvent } from './history-checker.js';

export class MetricsChecker {
  readonly problems: Problem[] = [];
  /** The number of batches that were read. */
  read = 0;
  /** The number of batches up to the last one, with those that are missing or could not be read. */
  events = 0;
  /** The revisions of the batches that the store could not deliver. */
  readonly unread: number[] = [];
  /** The number of batches of abandoned attempts. Only their form is checked. */
  unnamed = 0;
  private readonly named = new Map<number, NamedBatch>();
  private readonly masks: MasksChecker | null;

  constructor(
    private readonly runId: string,
    { batches, gates }: Pick<HistoryChecker, 'batches' | 'gates'>,
  ) {
    this.masks = gates === null ? null : new MasksChecker(gates);
    for (const batch of batches) this.named.set(batch.metricsRevision, batch);
  }

  push(event: RawEvent): void {
    const revision = Number(event.revision);
    const subject = `metrics of run ${this.runId} revision ${revision}`;
    if (revision !== this.events) this.report(subject, `revision ${this.events} was expected`);
    this.events = revision + 1;
    this.read += 1;
    const batch = this.named.get(revision);
    if (batch === undefined) this.unnamed += 1;
    this.named.delete(revision);
    const digest = sha256Hex(event.data);
    const vouched = batch === undefined || digest === batch.metricsDigest;
    if (!vouched)
      this.report(subject, `its bytes have digest ${digest}, revision ${batch.revision} of the run recorded ${batch.metricsDigest}`);
    if (hasMetadata(event)) this.report(subject, METADATA_FOUND);
    if (vouched) this.checkContent(event, batch, subject);
  }

  private checkContent(event: RawEvent, batch: NamedBatch | undefined, subject: string): void {
    let value: unknown;
    try {
      value = JSON.parse(Buffer.from(event.data).toString('utf8'));
    } catch {
      this.report(subject, 'the bytes are not JSON');
      return;
    }
    if (event.type !== 'StepsMeasured') {
      if (batch !== undefined) this.report(subject, `its type is ${event.type}, revision ${batch.revision} of the run recorded steps`);
      return;
    }
    if (Buffer.compare(Buffer.from(canonicalJson(value), 'utf8'), event.data) !== 0)
      this.report(subject, 'the bytes are not canonical JSON');
    const unfit = schemaProblem(stepsMeasuredSchema, value);
    if (unfit !== null) {
      this.report(subject, unfit);
      return;
    }
    const measured = value as StepsMeasured;
    const id = this.idOf(measured);
    if (event.id !== id) this.report(subject, `its id is ${event.id}, its content gives ${id}`);
    if (batch !== undefined) {
      const steps = measured.steps.map(({ step }) => step);
      const joined = steps.length === batch.endStep - batch.firstStep && steps.every((step, index) => step === batch.firstStep + index);
      const masks = this.masks?.problem(batch, measured.masks);
      if (masks) this.report(subject, masks);
      if (!joined) this.report(subject, `its steps are not ${batch.firstStep} to ${batch.endStep - 1}, as the run recorded`);
    }
  }

  /** The id of a batch, which is computed from its steps. */
  private idOf({ branch, attempt, steps }: StepsMeasured): string {
    return uuidOf([this.runId, 'metrics', branch, attempt, steps[0]?.step ?? 0]);
  }

  /** Tells that the store could not deliver this batch. */
  unreadable(revision: bigint, detail: string): void {
    this.problems.push({ check: 'store', subject: `metrics of run ${this.runId} revision ${revision}`, detail });
    this.events = Number(revision) + 1;
    this.unread.push(Number(revision));
    this.named.delete(Number(revision));
  }

  finish(): void {
    for (const batch of this.named.values()) {
      this.report(
        `metrics of run ${this.runId} revision ${batch.metricsRevision}`,
        `missing, though revision ${batch.revision} of the run names it`,
      );
    }
  }

  private report(subject: string, detail: string): void {
    this.problems.push({ check: 'metrics', subject, detail });
  }
}
