// Declares the parts of the Jinja library that are used here, because its type files don't resolve under nodenext.
import * as library from '@huggingface/jinja';

export const jinja = library as unknown as {
  Template: new (source: string) => { parsed: unknown; render(values: object): string };
  Environment: new () => { set(name: string, value: unknown): void };
  Interpreter: new (environment: unknown) => { run(program: unknown): { value: string } };
  tokenize(source: string): unknown;
  parse(tokens: unknown): unknown;
};
