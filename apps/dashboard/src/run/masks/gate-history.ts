// Finds when each head or unit of a layer closed and opened, from the changes between recorded states.

/** The gate changed after one recorded state, and by the next one. */
export interface GateChange {
  after: number;
  by: number;
  isOpen: boolean;
}

interface MaskChange {
  step: bigint;
  closed: readonly number[];
  opened: readonly number[];
}

/**
 * Returns the changes of each gate, in the order of steps, by the gate's number in its layer. Gates that never changed are left out.
 * @param steps the steps of all recorded states, rising
 */
export function gateHistory(changes: readonly MaskChange[], steps: readonly number[]): Map<number, GateChange[]> {
  const history = new Map<number, GateChange[]>();
  const add = (gate: number, step: bigint, isOpen: boolean): void => {
    const own = history.get(gate) ?? [];
    const by = Number(step);
    own.push({ after: steps.findLast((one) => one < by) ?? by, by, isOpen });
    history.set(gate, own);
  };
  for (const { step, closed, opened } of [...changes].sort((one, other) => Number(one.step - other.step))) {
    for (const gate of closed) add(gate, step, false);
    for (const gate of opened) add(gate, step, true);
  }
  return history;
}

/** Returns a text like "closed after step 46, by 83; opened after 83, by 90"; '' for a gate that never changed. */
export function historyWords(changes: readonly GateChange[], most = 6): string {
  const shown = changes.slice(0, most).map(({ after, by, isOpen }, index) => {
    const step = index === 0 ? 'step ' : '';
    return `${isOpen ? 'opened' : 'closed'} ${by - after <= 1 ? `at ${step}${by}` : `after ${step}${after}, by ${by}`}`;
  });
  return `${shown.join('; ')}${changes.length > most ? `; and ${changes.length - most} more changes` : ''}`;
}

/** Returns the range of gates that a cell of the map stands for. `to` is excluded. */
export function gatesOf(cell: number, cells: number, gates: number): [from: number, to: number] {
  const from = Math.ceil((cell * gates) / cells);
  return [from, Math.max(from + 1, Math.ceil(((cell + 1) * gates) / cells))];
}

export interface GateRow {
  gate: number;
  isOpen: boolean;
  history: GateChange[];
}

/** Returns the gates that changed, or are closed at the step. The gate that closed first comes first. */
export function gateRows(
  { size, changes, closedAtFirst }: { size: number; changes: readonly MaskChange[]; closedAtFirst: ReadonlySet<number> },
  steps: readonly number[],
  step: number,
): GateRow[] {
  const histories = gateHistory(changes, steps);
  const rows = Array.from({ length: size }, (_, gate): GateRow => {
    const history = histories.get(gate) ?? [];
    const last = history.findLast((one) => one.by <= step);
    return { gate, history, isOpen: last?.isOpen ?? !closedAtFirst.has(gate) };
  });
  const closing = ({ history, isOpen }: GateRow): number => history.find((one) => !one.isOpen)?.by ?? (isOpen ? Infinity : -1);
  return rows
    .filter(({ history, isOpen }) => history.length > 0 || !isOpen)
    .sort((one, other) => closing(one) - closing(other) || one.gate - other.gate);
}
