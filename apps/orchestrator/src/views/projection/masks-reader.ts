// Reads the masks of a run at its recorded states, added up from the gates that opened and closed in each segment.
import { allGates, decodeGates, gatesApart, type Gates } from '#audit';
import { isActiveStep, type Rewind } from './run-detail.js';
import type { ViewsDatabase } from '../../event-sourcing/read-models/views-file.js';

interface MasksRow {
  revision: number;
  branch: number;
  firstStep: number;
  endStep: number;
  closedBefore: string | null;
  changed: string | null;
}

/** The gates that are open in the recorded state after `step` steps. */
export interface MasksAt {
  step: number;
  open: Gates;
}

const PAGE_ROWS = 256;

/** The segments on the run's present branch, in the order of their steps. */
function* readSegments(database: ViewsDatabase, runId: string, rewinds: readonly Rewind[]): Iterable<MasksRow> {
  const query = database.prepare(
    `SELECT s.revision, s.branch, s.first_step AS firstStep, s.end_step AS endStep, m.closed_before AS closedBefore, m.changed
     FROM segments AS s LEFT JOIN mask_changes AS m ON m.run_id = s.run_id AND m.revision = s.metrics_revision
     WHERE s.run_id = ? AND s.revision > ? ORDER BY s.revision LIMIT ${PAGE_ROWS}`,
  );
  for (let after = -1; ;) {
    const rows = query.all(runId, after) as MasksRow[];
    yield* rows.filter(({ branch, endStep }) => isActiveStep(rewinds, branch, endStep - 1));
    if (rows.length < PAGE_ROWS) return;
    after = rows.at(-1)!.revision;
  }
}

/** The steps for which readMasks yields masks, found without adding anything up. */
export function stepsWithMasks(database: ViewsDatabase, runId: string, rewinds: readonly Rewind[]): number[] {
  const steps: number[] = [];
  let known = -1;
  for (const { firstStep, endStep, closedBefore, changed } of readSegments(database, runId, rewinds)) {
    if (changed === null || (closedBefore === null && known !== firstStep)) continue;
    if (known !== firstStep) steps.push(firstStep);
    steps.push(endStep);
    known = endStep;
  }
  return steps;
}

/** Yields the masks from the first state on whose masks the record tells. States that a lost batch hides are left out. */
export function* readMasks(database: ViewsDatabase, runId: string, rewinds: readonly Rewind[], gates: number): Iterable<MasksAt> {
  let last: MasksAt = { step: -1, open: new Uint8Array() };
  for (const { firstStep, endStep, closedBefore, changed } of readSegments(database, runId, rewinds)) {
    if (changed === null || (closedBefore === null && last.step !== firstStep)) continue;
    if (last.step !== firstStep) yield (last = { step: firstStep, open: startOf(closedBefore, last.open, gates) });
    yield (last = { step: endStep, open: gatesApart(startOf(closedBefore, last.open, gates), setOf(changed, gates)) });
  }
}

function startOf(closedBefore: string | null, open: Gates, gates: number): Gates {
  return closedBefore === null ? open : gatesApart(allGates(gates), setOf(closedBefore, gates));
}

/** Reads a set of gates. Text that is not a set changes nothing here; a verification reports it. */
function setOf(text: string, gates: number): Gates {
  return decodeGates(text, gates) ?? gatesApart(allGates(gates), allGates(gates));
}
