// The values of the protocol's enums as words: "fisher" for IMPORTANCE_FISHER.
type Enum = Readonly<Record<string, string | number>>;

/** The words of an enum, such as EnumWord<typeof v1.Recipe, 'RECIPE_'>. */
export type EnumWord<E extends Enum, Prefix extends string> = keyof E extends infer Name
  ? Name extends `${Prefix}${infer Rest}`
    ? Exclude<Lowercase<Rest>, 'unspecified'>
    : never
  : never;

/** Returns the words of an enum in the order of its numbers, without UNSPECIFIED. */
export function enumWords<E extends Enum, Prefix extends string>(values: E, prefix: Prefix): EnumWord<E, Prefix>[] {
  const names = Object.values(values).filter((name) => typeof name === 'string' && name.startsWith(prefix)) as string[];
  return names.map((name) => name.slice(prefix.length).toLowerCase()).filter((word) => word !== 'unspecified') as EnumWord<E, Prefix>[];
}

/** Returns the value of a word: IMPORTANCE_FISHER for "fisher". */
export function enumValue<E extends Enum, Prefix extends string>(values: E, prefix: Prefix, word: EnumWord<E, Prefix>): EnumValue<E> {
  return values[prefix + (word as string).toUpperCase()] as EnumValue<E>;
}

/** The type of the values, which TypeScript spells E for the members of an enum. */
type EnumValue<E extends Enum> = Exclude<E[keyof E], string>;
