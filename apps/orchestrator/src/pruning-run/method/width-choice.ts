// The choice of what each layer keeps: for every attention and MLP one of the forms that a scan scored, or the intact one, so that the sum
// of their scores is least and a cost is kept. It is a mixed-integer program. All functions are pure.
import { costAt, openOf, WITHOUT_PARTS, type Cost, type Gates, type KeptParts } from './model-cost.js';
import type { LayerScan } from '../record/pruning-run.events.js';

/** One form of the attention or the MLP of a layer. */
interface Form {
  layer: number;
  attention: boolean;
  kept: number;
  kl: number;
  cost: number;
}

export interface WidthProgram {
  /** The program in the LP format of CPLEX. Variable x<i> is 1 where the i-th form is chosen. */
  text: string;
  forms: Form[];
}

export interface WidthChoice {
  kept: KeptParts[];
  /** The value of layer_widths. */
  layerWidths: string;
  /** The sum of the scores in nats a token. */
  kl: number;
}

/** @param most the cost that the model may have, in the units of `cost` */
export function widthProgram(scans: readonly LayerScan[], shape: Gates, cost: Cost, most: number): WidthProgram {
  const fixed = costAt(cost, WITHOUT_PARTS);
  const costOf = (attention: boolean, kept: number): number =>
    costAt(cost, openOf([attention ? { heads: kept, units: 0 } : { heads: 0, units: kept }], shape)) - fixed;
  const forms: Form[] = [];
  const choices: number[][] = [];
  for (const { layer, forms: scored } of scans)
    for (const attention of [true, false]) {
      const intact = { attention, kept: attention ? shape.heads : shape.units, kl: 0 };
      const block = [intact, ...scored.filter((form) => form.attention === attention)];
      choices.push(block.map((_, index) => forms.length + index));
      forms.push(...block.map(({ kept, kl }) => ({ layer, attention, kept, kl, cost: costOf(attention, kept) })));
    }
  // A solver's tolerances are absolute, so costs are shares of what the intact layers cost.
  const layers = shape.layers * costOf(true, shape.heads) + shape.layers * costOf(false, shape.units);
  const sum = (of: (form: Form) => number): string => forms.map((form, index) => `${decimal(of(form))} x${index}`).join('\n + ');
  const lines = [
    'Minimize',
    ` kl: ${sum(({ kl }) => kl)}`,
    'Subject To',
    ` cost: ${sum((form) => form.cost / layers)} <= ${(most - fixed) / layers}`,
    ...choices.map((block, index) => ` c${index}: ${block.map((one) => `x${one}`).join(' + ')} = 1`),
    'Binary',
    ` ${forms.map((_, index) => `x${index}`).join('\n ')}`,
    'End',
  ];
  return { text: `${lines.join('\n')}\n`, forms };
}

/** Scores may be below 0 by chance. The sign of a coefficient stands before it. */
const decimal = (value: number): string => (value < 0 ? `- ${-value}` : `${value}`);

/** @param chosen the indices of the forms that the program chose */
export function widthChoice({ forms }: WidthProgram, chosen: readonly number[], layers: number): WidthChoice {
  const kept: KeptParts[] = Array.from({ length: layers }, () => ({ heads: 0, units: 0 }));
  let sum = 0;
  for (const index of chosen) {
    const form = forms[index]!;
    kept[form.layer]![form.attention ? 'heads' : 'units'] = form.kept;
    sum += form.kl;
  }
  return { kept, layerWidths: kept.map(({ heads, units }) => `${heads}/${units}`).join(','), kl: sum };
}
