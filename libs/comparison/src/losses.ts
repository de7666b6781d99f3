// The losses of a step, whose weighted sum is its loss. Each has the name that it has in StepReport and StepMetrics of the protocol.

interface LossKind {
  /** Its name in queries. */
  field: string;
  /** Its name in lines and columns of the command line. */
  short: string;
  /** Its line in the dashboard's chart of losses. */
  label: string;
  /** The title of its chart. */
  title: string;
  /** '': it has none, as a mean square. */
  unit: '' | 'nats';
  /** Before its weight it is many times the total loss, so in one chart it would flatten the other lines. */
  hasOwnChart: boolean;
}

export const LOSSES = {
  layerLoss: { field: 'layer_loss', short: 'layer', label: 'layers', title: 'Layer loss', unit: '', hasOwnChart: false },
  klLoss: { field: 'kl_loss', short: 'kl', label: 'KL', title: 'KL to the teacher, before its weight', unit: 'nats', hasOwnChart: true },
  lmLoss: { field: 'lm_loss', short: 'lm', label: 'next token', title: 'Next-token loss', unit: 'nats', hasOwnChart: false },
} as const satisfies Record<string, LossKind>;
export type LossName = keyof typeof LOSSES;
export const LOSS_NAMES = Object.keys(LOSSES) as LossName[];

/** Makes an object with a value for each loss. */
export const ofEachLoss = <Value>(valueOf: (name: LossName) => Value): Record<LossName, Value> =>
  Object.fromEntries(LOSS_NAMES.map((name) => [name, valueOf(name)])) as Record<LossName, Value>;
