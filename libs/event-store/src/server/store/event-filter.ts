import { Unimplemented } from './refusals.js';

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

/** Compiles a filter; undefined: every event passes. @throws Unimplemented for a regular expression */
export function compileFilter(definition: FilterDefinition | undefined): EventFilter | undefined {
  if (!definition) return undefined;
  const matches = compileExpression(definition);
  if (definition.on === 'type') return { passes: (_stream, type) => matches(type), streamPrefixes: [] };
  return { passes: (stream) => matches(stream), streamPrefixes: definition.prefixes };
}

/** The filter that official clients have for all events but those of the store itself, whose types begin with "$". */
const NO_SYSTEM_EVENTS = '^[^$].*';

/** Any other regular expression of a caller could hold up the store for as long as it takes. */
function compileExpression({ regex, prefixes }: FilterDefinition): (text: string) => boolean {
  if (prefixes.length > 0) return (text) => prefixes.some((prefix) => text.startsWith(prefix));
  if (!regex) return () => true;
  if (regex === NO_SYSTEM_EVENTS) return (text) => !text.startsWith('$');
  throw new Unimplemented('filters by regular expression');
}
