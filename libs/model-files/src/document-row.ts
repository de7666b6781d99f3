// One row of a data file (an object of JSON, a line of CSV) as a document.
import { chatRenderer, type ChatMessage, type ChatTemplate } from './chat-template.js';
import { listed, malformed, ModelFilesError } from './model-files.errors.js';
import type { SourceDocument } from './read-bytes.js';

export class DocumentRows {
  private render: ((messages: ChatMessage[]) => string) | undefined;

  constructor(
    /** The field or column with the text, or with the messages of a conversation. */
    readonly column: string,
    private readonly chatTemplate: ChatTemplate | null,
  ) {}

  /** @throws ModelFilesError DATA_MALFORMED or DATA_UNSUPPORTED */
  document(row: unknown, file: string, line: number): SourceDocument {
    if (row === null || typeof row !== 'object' || Array.isArray(row)) {
      throw malformed(file, line, `not a JSON object; {${JSON.stringify(this.column)}: "..."} is allowed`);
    }
    const value = (row as Record<string, unknown>)[this.column];
    if (value === undefined) throw malformed(file, line, this.missing(Object.keys(row), 'field'));
    if (typeof value === 'string') return { text: value, file, line };
    if (!Array.isArray(value)) throw malformed(file, line, `"${this.column}" is ${kind(value)}; a string or a list of messages is allowed`);
    return { text: this.conversation(value, file, line), hasSpecialTokens: true, file, line };
  }

  /** The words for a file that lacks the column. */
  missing(names: string[], what: 'field' | 'column'): string {
    return `the ${what} "${this.column}" is missing (there are: ${listed(names)}); text_column names the one with the text`;
  }

  private conversation(value: unknown[], file: string, line: number): string {
    const wrong = value.findIndex((message) => !isMessage(message));
    if (value.length === 0) throw malformed(file, line, `"${this.column}" is an empty list; at least one message is needed`);
    if (wrong >= 0) throw malformed(file, line, `"${this.column}[${wrong}]" is no message; {"role": "user", "content": "..."} is allowed`);
    try {
      this.render ??= chatRenderer(this.requireTemplate(file, line));
      return this.render(value as ChatMessage[]);
    } catch (error) {
      if (error instanceof ModelFilesError) throw error;
      throw malformed(file, line, `the model's chat template does not take "${this.column}": ${(error as Error).message}`);
    }
  }

  private requireTemplate(file: string, line: number): ChatTemplate {
    if (this.chatTemplate !== null) return this.chatTemplate;
    throw new ModelFilesError(
      'DATA_UNSUPPORTED',
      `${file}, line ${line}: "${this.column}" holds the messages of a conversation, but the model has no chat template ` +
        '(chat_template.jinja, or chat_template in tokenizer_config.json)',
      { file, line },
    );
  }
}

function isMessage(value: unknown): value is ChatMessage {
  const { role, content } = (value ?? {}) as { role?: unknown; content?: unknown };
  return typeof role === 'string' && typeof content === 'string';
}

function kind(value: unknown): string {
  if (value === null) return 'null';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
