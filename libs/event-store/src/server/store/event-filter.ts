import { InvalidArgument } from './refusals.js';

/** Decides by stream name and event type whether a reader of $all wants an event. */
export interface EventFilter {
  passes(stream: string, type: string): boolean;
  /** The name of each wanted stream begins with one of these. Empty where the filter is of another kind. */
  streamPrefixes: readonly string[];
}

interface FilterDefinition {
  on: 'stream' | 'type';
  regex: string;
  prefixes: string[];
}

interface ExpressionMessage {
  getRegex(): string;
  getPrefixList(): string[];
}
interface FilterMessage {
  getStreamIdentifier(): ExpressionMessage | undefined;
  getEventType(): ExpressionMessage | undefined;
}

export function filterDefinitionOf(message: FilterMessage | undefined): FilterDefinition | undefined {
  const onStream = message?.getStreamIdentifier();
  const expression = onStream ?? message?.getEventType();
  if (!expression) return undefined;
  return { on: onStream ? 'stream' : 'type', regex: expression.getRegex(), prefixes: expression.getPrefixList() };
}

/** Compiles a filter; undefined: every event passes. @throws InvalidArgument if the regular expression is not valid */
export function compileFilter(definition: FilterDefinition | undefined): EventFilter | undefined {
  if (!definition) return undefined;
  const matches = compileExpression(definition);
  if (definition.on === 'type') return { passes: (_stream, type) => matches(type), streamPrefixes: [] };
  return { passes: (stream) => matches(stream), streamPrefixes: definition.prefixes };
}

function compileExpression({ regex, prefixes }: FilterDefinition): (text: string) => boolean {
  if (prefixes.length > 0) return (text) => prefixes.some((prefix) => text.startsWith(prefix));
  if (!regex) return () => true;
  let pattern: RegExp;
  try {
    pattern = new RegExp(regex, 'u');
  } catch {
    pattern = compileLoosely(regex);
  }
  return (text) => pattern.test(text);
}

/** Compiles without unicode mode, in which escapes that other dialects allow, such as "\-", are errors. */
function compileLoosely(regex: string): RegExp {
  try {
    return new RegExp(regex);
  } catch (error) {
    throw new InvalidArgument(`the filter's regular expression "${regex}" is not valid: ${(error as Error).message}`);
  }
}
