// Splits the server's refusal of a form by its fields.
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
  /** The problems by the fields' names in the protocol: "settings.target_sparsity". */
  byField: Readonly<Record<string, string>>;
  /** The words about fields that the form lacks; '' where there are none. */
  rest: string;
}

/** @param known the fields that the form shows */
export function formTroubles(trouble: Trouble | undefined, known: readonly string[]): FormTroubles {
  if (trouble === undefined) return { byField: {}, rest: '' };
  if (trouble.isLocked) return { byField: {}, rest: 'This browser is logged out. The form keeps its values until it is logged in again.' };
  const mine = trouble.fields.filter(({ field }) => known.includes(field));
  const others = trouble.fields.filter(({ field }) => !known.includes(field));
  const rest =
    trouble.fields.length === 0
      ? trouble.message
      : others.map(({ field, description }) => `${words(field)}: ${withoutName(field, description)}`).join('; ');
  return { byField: Object.fromEntries(mine.map(({ field, description }) => [field, withoutName(field, description)])), rest };
}

/** Removes a field that was changed from the refusal, since the refused value is gone. undefined if no field is left. */
export function withoutField(trouble: Trouble | undefined, field: string): Trouble | undefined {
  if (trouble === undefined || !trouble.fields.some((one) => one.field === field)) return trouble;
  const fields = trouble.fields.filter((one) => one.field !== field);
  return fields.length === 0 ? undefined : { ...trouble, fields };
}

/** Removes the part of the job's request from the field names, because the form only shows that part. */
export function ofPart(trouble: Trouble): Trouble {
  const fields = trouble.fields.map((one) => ({ ...one, field: one.field.replace(/^(evaluate|evaluate_tasks|export|bench)\./, '') }));
  return { ...trouble, fields };
}

/** Joins two refusals of the same form. Each field is named once. */
export function joined(one: Trouble | undefined, other: Trouble | undefined): Trouble | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const known = new Set(one.fields.map(({ field }) => field));
  const fields: FieldTrouble[] = [...one.fields, ...other.fields.filter(({ field }) => !known.has(field))];
  return { ...(one.fields.length === 0 ? one : other.fields.length === 0 ? other : one), fields };
}

const words = (field: string): string => field.replace(/^settings\./, '').replaceAll('_', ' ');

/** Removes the field's name from a description, because the field's label names it already. */
function withoutName(field: string, description: string): string {
  const short = field.replace(/^.*\./, '');
  for (const name of [field, short]) if (description.startsWith(`${name}: `)) return description.slice(name.length + 2);
  return description;
}
