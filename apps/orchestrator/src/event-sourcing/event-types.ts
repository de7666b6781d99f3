// An aggregate's event types and their version. A release that changes the fields of an event raises the version and adds an upcaster, so
// that events of every version stay readable (HACKING.md, "Change a stored format").

type Fields = Record<string, unknown>;
type Upcaster = (fields: Fields) => Fields;

/** upcasters[type][n] turns the fields of version n into those of version n + 1. Where one is missing, nothing changed. */
export type Upcasters<Type extends string> = Partial<Record<Type, Record<number, Upcaster>>>;

export interface EventTypes {
  readonly currentVersion: number;
  isKnown(type: string): boolean;
  /** Returns the fields as the current version has them. */
  upcast(type: string, version: number, fields: Fields): Fields;
}

/** @param known a record with an entry for each type, so that the compiler asks for every type */
export function eventTypesOf<Type extends string>(
  known: Record<Type, unknown>,
  currentVersion: number,
  upcasters: Upcasters<Type> = {},
): EventTypes {
  return {
    currentVersion,
    isKnown: (type) => Object.hasOwn(known, type),
    upcast: (type, from, fields) => {
      let result = fields;
      for (let version = from; version < currentVersion; version += 1) result = upcasters[type as Type]?.[version]?.(result) ?? result;
      return result;
    },
  };
}
