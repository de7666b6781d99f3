// When each head or unit of a layer closed and opened, from the changes between recorded states.

export interface GateChange {
  step: number;
  isOpen: boolean;
}

interface MaskChange {
  step: bigint;
  closed: readonly number[];
  opened: readonly number[];
}

/** By the gate's number in its layer, in the order of the steps. Gates that never changed are not among them. */
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

/** "closed at step 120, opened at 130, closed at 140"; '' where it never changed. */
export function historyWords(changes: readonly GateChange[], most = 6): string {
  const shown = changes
    .slice(0, most)
    .map(({ step, isOpen }, index) => `${isOpen ? 'opened' : 'closed'} at ${index === 0 ? 'step ' : ''}${step}`);
  return `${shown.join(', ')}${changes.length > most ? `, and ${changes.length - most} more changes` : ''}`;
}

/** The gates that a cell of the map stands for: the first, and the one behind the last. */
export function gatesOf(cell: number, cells: number, gates: number): [from: number, to: number] {
  const from = Math.ceil((cell * gates) / cells);
  return [from, Math.max(from + 1, Math.ceil(((cell + 1) * gates) / cells))];
}

export interface GateRow {
  gate: number;
  isOpen: boolean;
  history: GateChange[];
}

/** The gates that changed, or are closed at the step: first the one that closed first. */
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
