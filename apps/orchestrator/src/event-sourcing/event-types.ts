// An aggregate's event types and their versions. Events of every past version stay readable: an upcaster turns the fields of version n into
// those of version n + 1.

export type Fields = Record<string, unknown>;
export type Upcaster = (fields: Fields) => Fields;

/** upcasters[type][n] turns the fields of version n into those of version n + 1. Where one is missing, nothing changed. */
export type Upcasters<Type extends string> = Partial<Record<Type, Record<number, Upcaster>>>;

export interface EventTypes {
  readonly currentVersion: number;
  isKnown(type: string): boolean;
  /** Returns the fields as the current version has them. */
  upcast(type: string, version: number, fields: Fields): Fields;
}

export function upcastBy<Type extends string>(
  upcasters: Upcasters<Type>,
  type: Type,
  { from, to }: { from: number; to: number },
  fields: Fields,
): Fields {
  let result = fields;
  for (let version = from; version < to; version += 1) result = upcasters[type]?.[version]?.(result) ?? result;
  return result;
}
