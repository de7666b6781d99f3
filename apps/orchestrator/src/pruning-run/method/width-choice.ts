// The choice of what each layer keeps: for every attention and MLP one of the forms that a scan scored, or the intact one, so that the sum
// of their scores is least and all bounds are kept. It is a mixed-integer program. All functions are pure.
import type { LayerScan } from '../record/pruning-run.events.js';
import { costAt, openOf, WITHOUT_PARTS, type Cost, type Gates, type KeptParts } from './model-cost.js';
import type { Shape } from './shape-target.js';

/** One form of the attention or the MLP of a layer. */
interface Form {
  layer: number;
  attention: boolean;
  kept: number;
  kl: number;
}

/** The cost that a model may have at most, in the units of `cost`. */
export interface Bound {
  cost: Cost;
  most: number;
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

/** @param held the shapes that the layers have to take; undefined: any */
export function widthProgram(scans: readonly LayerScan[], shape: Gates, bounds: readonly Bound[], held?: Shape): WidthProgram {
  const blocks = scans.flatMap(({ layer, forms }) =>
    [true, false].map((attention) => {
      const intact: Form = { layer, attention, kept: attention ? shape.heads : shape.units, kl: 0 };
      const scored = forms.filter((form) => form.attention === attention).map(({ kept, kl }) => ({ layer, attention, kept, kl }));
      return [intact, ...scored].filter((form) => held === undefined || suits(form, shape, held));
    }),
  );
  const forms = blocks.flat();
  const variables = new Map(forms.map((form, index) => [form, `x${index}`]));
  const variable = (form: Form): string => variables.get(form)!;
  const sum = (of: (form: Form) => number): string => forms.map((form) => `${decimal(of(form))} ${variable(form)}`).join('\n + ');
  const alike = held?.uniform === true ? layersAlike(blocks, variable) : { conditions: [], widths: [] };
  const conditions = [
    ...bounds.map((bound) => withinBound(bound, shape, sum)),
    ...blocks.map((block) => `${block.map(variable).join(' + ')} = 1`),
    ...alike.conditions,
  ];
  const lines = [
    'Minimize',
    ` kl: ${sum(({ kl }) => kl)}`,
    'Subject To',
    ...conditions.map((condition, index) => ` c${index}: ${condition}`),
    'Binary',
    ` ${[...variables.values(), ...alike.widths].join('\n ')}`,
    'End',
  ];
  return { text: `${lines.join('\n')}\n`, forms };
}

/** Tells whether the program that the result is for can use a form. */
function suits({ layer, attention, kept }: Form, { heads, units }: Gates, { multipleOf, wholeAttention }: Shape): boolean {
  if (!attention) return kept % multipleOf === 0 || kept === units;
  return !wholeAttention || kept === heads || (kept === 0 && layer > 0);
}

/** A solver's tolerances are absolute, so costs are shares of what the intact layers cost. */
function withinBound({ cost, most }: Bound, shape: Gates, sum: (of: (form: Form) => number) => string): string {
  const fixed = costAt(cost, WITHOUT_PARTS);
  const costOf = ({ attention, kept }: Pick<Form, 'attention' | 'kept'>): number =>
    costAt(cost, openOf([attention ? { heads: kept, units: 0 } : { heads: 0, units: kept }], shape)) - fixed;
  const layer = costOf({ attention: true, kept: shape.heads }) + costOf({ attention: false, kept: shape.units });
  const layers = shape.layers * layer;
  return `${sum((form) => costOf(form) / layers)} <= ${(most - fixed) / layers}`;
}

/** The conditions by which all layers that stay have one width, and a layer goes with both its parts. */
function layersAlike(blocks: readonly Form[][], variable: (form: Form) => string): { conditions: string[]; widths: string[] } {
  const widthOf = ({ attention, kept }: Form): string => `${attention ? 'heads' : 'units'}${kept}`;
  const forms = blocks.flat().filter(({ kept }) => kept > 0);
  const names = (attention: boolean): string[] => [...new Set(forms.filter((form) => form.attention === attention).map(widthOf))];
  const gone = blocks.map((block) => block.find(({ kept }) => kept === 0));
  const together = gone.flatMap((attention, index) => {
    const mlp = gone[index + 1];
    return attention?.attention === true && mlp !== undefined ? [`${variable(attention)} - ${variable(mlp)} = 0`] : [];
  });
  const conditions = [
    `${names(true).join(' + ')} = 1`,
    `${names(false).join(' + ')} = 1`,
    ...forms.map((form) => `${variable(form)} - ${widthOf(form)} <= 0`),
    ...together,
  ];
  return { conditions, widths: [...names(true), ...names(false)] };
}

/** Scores may be below 0 by chance. The sign of a coefficient stands before it. */
const decimal = (value: number): string => (value < 0 ? `- ${-value}` : `${value}`);

/** @param chosen the names of the variables that are 1 */
export function widthChoice({ forms }: WidthProgram, chosen: readonly string[], layers: number): WidthChoice {
  const kept: KeptParts[] = Array.from({ length: layers }, () => ({ heads: 0, units: 0 }));
  let sum = 0;
  for (const [index, form] of forms.entries()) {
    if (!chosen.includes(`x${index}`)) continue;
    kept[form.layer]![form.attention ? 'heads' : 'units'] = form.kept;
    sum += form.kl;
  }
  return { kept, layerWidths: kept.map(({ heads, units }) => `${heads}/${units}`).join(','), kl: sum };
}

/** The sum of the scores of widths, as the choice would have them; null where the scan scored no such form of a layer. */
export function scoreOfWidths(scans: readonly LayerScan[], kept: readonly KeptParts[], { heads, units }: Gates): number | null {
  if (kept.length !== scans.length) return null;
  let sum = 0;
  for (const { layer, forms } of scans)
    for (const [attention, width, intact] of [
      [true, kept[layer]?.heads, heads],
      [false, kept[layer]?.units, units],
    ] as const) {
      const form = width === intact ? { kl: 0 } : forms.find((one) => one.attention === attention && one.kept === width);
      if (form === undefined) return null;
      sum += form.kl;
    }
  return sum;
}
