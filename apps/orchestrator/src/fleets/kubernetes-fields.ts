// Finds the fields of a manifest that the client library does not know, since the library would leave them out silently.

interface Attribute {
  name: string;
  baseName: string;
  type: string;
}
/** The library's classes of Kubernetes' types, by name. */
export type Models = Readonly<Record<string, unknown>>;

/** The path of the first unknown field, such as spec.template.x, or null where the library knows all fields. */
export function unknownField(value: unknown, type: string, models: Models): string | null {
  const [, item] = /^Array<(.+)>$/.exec(type) ?? [];
  if (item !== undefined) return firstOf(Array.isArray(value) ? value.entries() : [], (one) => unknownField(one, item, models));
  const [, member] = /^\{ \[key: string\]: (.+); \}$/.exec(type) ?? [];
  if (member !== undefined) return firstOf(entriesOf(value), (one) => unknownField(one, member, models));
  const attributes = attributesOf(models[type]);
  if (attributes === null) return null; // text, a number, or a value of any form
  return firstOf(entriesOf(value), (one, key) => {
    const attribute = attributes.find(({ name }) => name === key);
    return attribute === undefined ? '' : unknownField(one, attribute.type, models);
  });
}

function firstOf(entries: Iterable<[string | number, unknown]>, pathIn: (value: unknown, key: string) => string | null): string | null {
  for (const [key, value] of entries) {
    const path = pathIn(value, String(key));
    if (path !== null) return path === '' ? String(key) : `${key}.${path}`;
  }
  return null;
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}

function attributesOf(model: unknown): readonly Attribute[] | null {
  return (model as { attributeTypeMap?: readonly Attribute[] } | undefined)?.attributeTypeMap ?? null;
}
