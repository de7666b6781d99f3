// Ties a field of a form to one of its values.

interface Form<T extends object> {
  values: T;
  /** Why the server refuses a field, by the names of the protocol. */
  wrong: Readonly<Record<string, string>>;
  changed: (field: string, part: Partial<T>) => void;
}

/** Returns a function from a value's name, and its name in the protocol where that differs, to the properties of its field. */
export function boundTo<T extends object>({ values, wrong, changed }: Form<T>) {
  return <Name extends keyof T & string>(name: Name, field: string = name) => ({
    value: values[name],
    changed: (value: T[Name]): void => changed(field, { [name]: value } as unknown as Partial<T>),
    wrong: wrong[field],
  });
}

export type BoundFields<T extends object> = ReturnType<typeof boundTo<T>>;
