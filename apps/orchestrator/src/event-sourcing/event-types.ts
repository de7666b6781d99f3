// An aggregate's event types and their versions. A release that changes the fields of an event adds an upcaster, which raises the version
// of this type, so that events of every version stay readable (HACKING.md, "Change a stored format").

type Fields = Record<string, unknown>;
type Upcaster = (fields: Fields) => Fields;

export interface EventTypes {
  isKnown(type: string): boolean;
  /** Returns the version in which this release stores the type. */
  versionOf(type: string): number;
  /** Returns the fields as the current version has them. */
  upcast(type: string, version: number, fields: Fields): Fields;
}

/**
 * @param known a record with an entry for each type, so that the compiler asks for every type
 * @param upcasters the first one of a type turns the fields of version 1 into those of version 2, and so on
 */
export function eventTypesOf<Type extends string>(
  known: Record<Type, unknown>,
  upcasters: { readonly [T in Type]?: readonly Upcaster[] } = {},
): EventTypes {
  const upcastersOf = (type: string): readonly Upcaster[] => upcasters[type as Type] ?? [];
  return {
    isKnown: (type) => Object.hasOwn(known, type),
    versionOf: (type) => 1 + upcastersOf(type).length,
    upcast: (type, from, fields) =>
      upcastersOf(type)
        .slice(Math.max(0, from - 1))
        .reduce((former, upcast) => upcast(former), fields),
  };
}
