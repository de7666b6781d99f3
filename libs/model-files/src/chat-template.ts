// A model's own chat template turns a conversation into the text that the model was trained on. Two renderings must give the same bytes on
// any day, so templates that ask for the date get a fixed one.
import { createHash } from 'node:crypto';
import { jinja } from './jinja.js';
import { readModelFile, tokenContent } from './load-tokenizer.js';
import type { Span } from './rows/read-bytes.js';

const TEMPLATE_BYTES_MAX = 1 << 20;
/** The date that published templates use where they have no clock. */
const DATE = '26 Jul 2024';

export interface ChatTemplate {
  /** The template in Jinja, in the form that transformers accepts. */
  source: string;
  /** The texts of the special tokens by their names, such as bos_token. */
  specialTokens: Record<string, string>;
}

export interface ChatMessage {
  role: string;
  content: string;
}

/** Reads the file chat_template.jinja, or else the template in tokenizer_config.json; null: the model has none. */
export async function readChatTemplate(modelPath: string, configJson: string, signal?: AbortSignal): Promise<ChatTemplate | null> {
  const file = await readModelFile(modelPath, 'chat_template.jinja', TEMPLATE_BYTES_MAX, signal);
  const config = objectIn(configJson);
  const source = file?.toString('utf8') ?? templateIn(config.chat_template);
  return source === undefined ? null : { source, specialTokens: specialTokensIn(config) };
}

export function chatTemplateDigest({ source }: ChatTemplate): string {
  return createHash('sha256').update(source).digest('hex');
}

/** Parses tokenizer_config.json. A file that is not a JSON object is accepted here: loading the tokenizer reports it. */
function objectIn(json: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Finds the template; some models have several, each with a name. */
function templateIn(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as { name?: unknown; template?: unknown }[];
  const template = named.find(({ name }) => name === 'default')?.template;
  return typeof template === 'string' ? template : undefined;
}

function specialTokensIn(config: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(config)) {
    if (!name.endsWith('_token')) continue;
    const content = tokenContent(value);
    if (content !== undefined) tokens[name] = content;
  }
  return tokens;
}

export interface Conversation {
  text: string;
  responses?: Span[];
  /** The index of a response that can't be separated from the text around it. */
  unclear?: number;
}

/**
 * Returns a function that writes whole conversations.
 * @param withResponses also find the responses: the parts of the text that answer, each from the line that begins the answer to the text
 * that ends it
 * @throws Error with the message of the template, or with what is wrong with it
 */
export function conversationWriter(chatTemplate: ChatTemplate, withResponses: boolean): (messages: ChatMessage[]) => Conversation {
  const render = chatRenderer(chatTemplate);
  return (messages) => {
    const text = render(messages, false);
    if (!withResponses) return { text };
    const responses: Span[] = [];
    for (const [index, { role }] of messages.entries()) {
      if (role !== 'assistant') continue;
      const before = render(messages.slice(0, index), true);
      const after = index === messages.length - 1 ? text : render(messages.slice(0, index + 1), false);
      if (!after.startsWith(before) || !text.startsWith(after)) return { text, unclear: index };
      responses.push({ from: before.length, to: after.length });
    }
    return { text, responses };
  };
}

/**
 * Returns a function that writes a conversation up to where the answer to its last message begins. @throws Error as `conversationWriter`
 * does
 */
export function chatWriter(chatTemplate: ChatTemplate): (messages: ChatMessage[]) => string {
  const render = chatRenderer(chatTemplate);
  return (messages) => render(messages, true);
}

function chatRenderer({ source, specialTokens }: ChatTemplate): (messages: ChatMessage[], beginsResponse: boolean) => string {
  const template = new jinja.Template(source);
  return (messages, beginsResponse) => {
    const environment = new jinja.Environment();
    const values: Record<string, unknown> = {
      ...specialTokens,
      true: true,
      false: false,
      none: null,
      True: true,
      False: false,
      None: null,
      raise_exception: (message: unknown) => {
        throw new Error(String(message));
      },
      range: (start: number, stop?: number, step = 1) => rangeOf(stop === undefined ? 0 : start, stop ?? start, step),
      strftime_now: () => DATE,
      messages,
      add_generation_prompt: beginsResponse,
    };
    for (const [name, value] of Object.entries(values)) environment.set(name, value);
    return new jinja.Interpreter(environment).run(template.parsed).value;
  };
}

function rangeOf(start: number, stop: number, step: number): number[] {
  const length = Math.max(Math.ceil((stop - start) / step), 0);
  return Array.from({ length }, (_, index) => start + index * step);
}
