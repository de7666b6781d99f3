// Prompts are Jinja templates over the columns of a row. A missing column is an error, not an empty text.
import { jinja, type Row } from '#model-files';
import type { Cleaning } from './declaration.js';
import { capitalize, strip } from './python-text.js';
import { TaskError } from './task-error.js';

export interface Template {
  render(row: Row): string;
  /** The columns that the template names. */
  readonly columns: ReadonlySet<string>;
}

/** The names that templates know besides the columns. */
const GLOBALS = new Set(['capitalize', 'loop', 'range', 'namespace', 'true', 'false', 'none', 'True', 'False', 'None']);

export function compile(source: string, field: string): Template {
  const template = new jinja.Template('');
  try {
    // Jinja drops one line end at the end of a template. All of the template counts here, so one more is added.
    template.parsed = jinja.parse(jinja.tokenize(source.endsWith('\n') ? `${source}\n` : source));
  } catch (error) {
    throw new TaskError('TASK_INVALID', `${field}: ${JSON.stringify(source)} is not a valid template (${(error as Error).message})`);
  }
  const columns = new Set<string>();
  const bound = new Set(GLOBALS);
  collect(template.parsed, columns, bound);
  for (const name of bound) columns.delete(name);
  return {
    columns,
    render: (row) => {
      try {
        return template.render({ capitalize, ...row });
      } catch (error) {
        throw new TaskError('TASK_INVALID', `${field}: ${JSON.stringify(source)} can't be rendered (${(error as Error).message})`);
      }
    },
  };
}

interface Node {
  type?: string;
  value?: unknown;
  computed?: boolean;
  [part: string]: unknown;
}

/** Collects the names that the template reads, and the names that a loop or a `set` binds. */
function collect(node: unknown, read: Set<string>, bound: Set<string>): void {
  if (Array.isArray(node)) return node.forEach((one) => collect(one, read, bound));
  if (node instanceof Map) return [...node].forEach(([key, value]) => collect([key, value], read, bound));
  if (node === null || typeof node !== 'object') return;
  const { type, ...parts } = node as Node;
  if (type === 'Identifier') {
    read.add(String(parts['value']));
    return;
  }
  if (type === 'For') collect(parts['loopvar'], bound, bound);
  if (type === 'Set') collect(parts['assignee'], bound, bound);
  for (const [part, value] of Object.entries(parts)) {
    const isName =
      (part === 'property' && parts.computed !== true) ||
      (type === 'KeywordArgumentExpression' && part === 'key') ||
      (type === 'TestExpression' && part === 'test');
    if (isName) continue;
    // The name of a filter is not a column, but its arguments may name some.
    if (type === 'FilterExpression' && part === 'filter') collect((value as Node)['args'], read, bound);
    else collect(value, read, bound);
  }
}

/** Returns the value at a path in a row, such as "choices.text". */
export function valueAt(row: Row, path: string): unknown {
  let value: unknown = row;
  for (const part of path.split('.')) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, part)) return undefined;
    value = (value as Row)[part];
  }
  return value;
}

export function cleaner(steps: readonly Cleaning[], field: string): (text: string) => string {
  const changes = steps.map((step): ((text: string) => string) => {
    if (step === 'strip') return strip;
    if ('replace' in step) {
      const [from, to] = step.replace;
      return (text) => text.replaceAll(from, () => to);
    }
    const [source, to] = step.pattern;
    let pattern: RegExp;
    try {
      pattern = new RegExp(source, 'gu');
    } catch (error) {
      throw new TaskError('TASK_INVALID', `${field}: ${JSON.stringify(source)} is not a valid pattern (${(error as Error).message})`);
    }
    return (text) => text.replace(pattern, to);
  });
  return (text) => changes.reduce((changed, change) => change(changed), text);
}
