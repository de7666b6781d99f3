// The server's refusal of a form, field by field.
import type { FieldTrouble, Trouble } from '../api/view-state.js';

/** A value that can't be sent at all. */
export class FieldProblem extends Error {
  constructor(
    readonly field: string,
    description: string,
  ) {
    super(description);
  }
}

export interface FormTroubles {
  /** By the names of the protocol: "settings.target_sparsity". */
  byField: Readonly<Record<string, string>>;
  /** The words on fields that the form lacks; '' where there is nothing to say. */
  rest: string;
}

/** @param known the fields that the form shows */
export function formTroubles(trouble: Trouble | undefined, known: readonly string[]): FormTroubles {
  if (trouble === undefined) return { byField: {}, rest: '' };
  if (trouble.isLocked) return { byField: {}, rest: 'This browser is logged out. What is filled in here is kept for when it is back.' };
  const mine = trouble.fields.filter(({ field }) => known.includes(field));
  const others = trouble.fields.filter(({ field }) => !known.includes(field));
  const rest =
    trouble.fields.length === 0 ? trouble.message : others.map(({ field, description }) => `${words(field)}: ${description}`).join('; ');
  return { byField: Object.fromEntries(mine.map(({ field, description }) => [field, withoutName(field, description)])), rest };
}

/** The refusal without a field that was changed since: the refused value is gone. undefined where no field is left. */
export function withoutField(trouble: Trouble | undefined, field: string): Trouble | undefined {
  if (trouble === undefined || !trouble.fields.some((one) => one.field === field)) return trouble;
  const fields = trouble.fields.filter((one) => one.field !== field);
  return fields.length === 0 ? undefined : { ...trouble, fields };
}

/** The request for a job has what is asked for in a part of its own; the form shows that part alone. */
export function ofPart(trouble: Trouble): Trouble {
  const fields = trouble.fields.map((one) => ({ ...one, field: one.field.replace(/^(evaluate|evaluate_tasks|export|bench)\./, '') }));
  return { ...trouble, fields };
}

/** Two refusals of the same form in one: each field is named once. */
export function joined(one: Trouble | undefined, other: Trouble | undefined): Trouble | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const known = new Set(one.fields.map(({ field }) => field));
  const fields: FieldTrouble[] = [...one.fields, ...other.fields.filter(({ field }) => !known.has(field))];
  return { ...(one.fields.length === 0 ? one : other.fields.length === 0 ? other : one), fields };
}

const words = (field: string): string => field.replace(/^settings\./, '').replaceAll('_', ' ');

/** The field is named by its label already. */
function withoutName(field: string, description: string): string {
  const short = field.replace(/^.*\./, '');
  for (const name of [field, short]) if (description.startsWith(`${name}: `)) return description.slice(name.length + 2);
  return description;
}
