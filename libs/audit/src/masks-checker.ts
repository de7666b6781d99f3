// Checks the masks that a run's segments state against their digests in the record. It adds up the changes, which must give the gates that
// are open at the end of each segment.
import { allGates, decodeGates, gatesApart, gatesDigest, type Gates } from './gate-set.js';
import type { NamedBatch } from './history-checker.js';
import type { SegmentMasks } from './steps-schema.js';

export class MasksChecker {
  /** The gates that were open at the end of the last segment; null: they are unknown. */
  private open: Gates | null = null;
  private step = 0;

  constructor(private readonly count: number) {}

  /** Returns the problem of the next segment's masks; null: the masks are right. */
  problem({ firstStep, endStep, openDigest }: NamedBatch, masks: SegmentMasks): string | null {
    const before = this.step === firstStep ? this.open : null;
    this.open = null;
    this.step = endStep;
    const closed = masks.closedBefore === undefined ? null : decodeGates(masks.closedBefore, this.count);
    const changed = decodeGates(masks.changed, this.count);
    if (changed === null || (masks.closedBefore !== undefined && closed === null)) return 'it names gates that the model does not have';
    const start = closed === null ? before : gatesApart(allGates(this.count), closed);
    if (start === null) return 'it says how masks changed, but not from what';
    this.open = gatesApart(start, changed);
    const digest = gatesDigest(this.open);
    return digest === openDigest ? null : `the gates open at step ${endStep} have digest ${digest}, the run recorded ${openDigest}`;
  }
}
