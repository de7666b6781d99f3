// Finds when each head or unit of a layer closed and opened, from the changes between recorded states.

export interface GateChange {
  step: number;
  isOpen: boolean;
}

interface MaskChange {
  step: bigint;
  closed: readonly number[];
  opened: readonly number[];
}

/** Returns the changes of each gate, in the order of steps, by the gate's number in its layer. Gates that never changed are left out. */
export function gateHistory(changes: readonly MaskChange[]): Map<number, GateChange[]> {
  const history = new Map<number, GateChange[]>();
  const add = (gate: number, step: bigint, isOpen: boolean): void => {
    const own = history.get(gate) ?? [];
    own.push({ step: Number(step), isOpen });
    history.set(gate, own);
  };
  for (const { step, closed, opened } of [...changes].sort((one, other) => Number(one.step - other.step))) {
    for (const gate of closed) add(gate, step, false);
    for (const gate of opened) add(gate, step, true);
  }
  return history;
}

/** Returns a text like "closed at step 120, opened at 130, closed at 140"; '' for a gate that never changed. */
export function historyWords(changes: readonly GateChange[], most = 6): string {
  const shown = changes
    .slice(0, most)
    .map(({ step, isOpen }, index) => `${isOpen ? 'opened' : 'closed'} at ${index === 0 ? 'step ' : ''}${step}`);
  return `${shown.join(', ')}${changes.length > most ? `, and ${changes.length - most} more changes` : ''}`;
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
  step: number,
): GateRow[] {
  const histories = gateHistory(changes);
  const rows = Array.from({ length: size }, (_, gate): GateRow => {
    const history = histories.get(gate) ?? [];
    const last = history.findLast((one) => one.step <= step);
    return { gate, history, isOpen: last?.isOpen ?? !closedAtFirst.has(gate) };
  });
  const closing = ({ history, isOpen }: GateRow): number => history.find((one) => !one.isOpen)?.step ?? (isOpen ? Infinity : -1);
  return rows
    .filter(({ history, isOpen }) => history.length > 0 || !isOpen)
    .sort((one, other) => closing(one) - closing(other) || one.gate - other.gate);
}
