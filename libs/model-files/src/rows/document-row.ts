// Makes a document of one row of a data file (an object of JSON, a line of CSV, a row of Parquet): a text, a conversation that the model's
// chat template writes, or an instruction with its answer.
import { conversationWriter, type ChatMessage, type ChatTemplate, type Conversation } from '../chat-template.js';
import { instructionText, type Instruction } from '../instruction-text.js';
import { listed, malformed, ModelFilesError } from '../model-files.errors.js';
import type { SourceDocument } from './read-bytes.js';

const TEXT = 'text';
const MESSAGES = 'messages';
const INSTRUCTION: readonly string[] = ['instruction', 'output'];
const INPUT = 'input';

export interface RowReading {
  /**
   * The field or column that holds the text, or the messages of a conversation; undefined: the first of the known forms that the row has.
   */
  textColumn?: string | undefined;
  /** Whether only the responses of a conversation or an instruction are learned. */
  responseOnly?: boolean | undefined;
}

export class DocumentRows {
  private write: ((messages: ChatMessage[]) => Conversation) | undefined;

  constructor(
    private readonly reading: RowReading,
    private readonly chatTemplate: ChatTemplate | null,
  ) {}

  /** Returns the columns that make the document, out of the existing ones; null: no known form is among them. */
  columns(names: readonly string[]): readonly string[] | null {
    const form = this.formIn((name) => names.includes(name));
    return form === INSTRUCTION && names.includes(INPUT) ? [...form, INPUT] : form;
  }

  /** Makes the document. @throws ModelFilesError DATA_MALFORMED or DATA_UNSUPPORTED */
  document(row: unknown, file: string, line: number): SourceDocument {
    if (row === null || typeof row !== 'object' || Array.isArray(row)) {
      throw malformed(file, line, `not a JSON object; {${JSON.stringify(this.reading.textColumn ?? TEXT)}: "..."} is allowed`);
    }
    const values = row as Record<string, unknown>;
    const form = this.formIn((name) => values[name] !== undefined);
    if (form === null) throw malformed(file, line, this.missing(Object.keys(row), 'field'));
    if (form === INSTRUCTION) {
      const { responses, ...whole } = instructionText(this.instruction(values, file, line));
      return { ...whole, ...(this.reading.responseOnly === true ? { responses } : {}), file, line };
    }
    const column = form[0]!;
    const value = values[column];
    if (typeof value === 'string') return this.plainText(value, column, file, line);
    if (!Array.isArray(value)) throw malformed(file, line, `"${column}" is ${kind(value)}; a string or a list of messages is allowed`);
    return { ...this.conversation(value, column, file, line), hasSpecialTokens: true, file, line };
  }

  /** Makes a document of a plain text, which has no response. */
  private plainText(text: string, column: string, file: string, line: number): SourceDocument {
    if (this.reading.responseOnly === true)
      throw malformed(file, line, `"${column}" is a plain text, which has no response; ${FOR_RESPONSES}`);
    return { text, file, line };
  }

  /** @throws ModelFilesError if only responses are learned, since a plain text has none */
  requireWhole(file: string, what: string): void {
    if (this.reading.responseOnly === true) throw malformed(file, undefined, `${what} has no response; ${FOR_RESPONSES}`);
  }

  /** The error message for a file that lacks the column. */
  missing(names: readonly string[], what: 'field' | 'column'): string {
    const { textColumn, responseOnly } = this.reading;
    const wanted = `the ${what} "${textColumn ?? (responseOnly === true ? MESSAGES : TEXT)}" is missing (there are: ${listed(names)})`;
    const others = textColumn === undefined ? '; "messages", or "instruction" and "output", are found by themselves' : '';
    return `${wanted}; text_column names the one with the text${others}`;
  }

  /** Returns the columns of the first known form that is there. A data set of instructions may also hold each instruction as one text. */
  private formIn(has: (name: string) => boolean): readonly string[] | null {
    const { textColumn, responseOnly } = this.reading;
    if (textColumn !== undefined) return has(textColumn) ? [textColumn] : null;
    const forms = responseOnly === true ? [[MESSAGES], INSTRUCTION, [TEXT]] : [[TEXT], [MESSAGES], INSTRUCTION];
    return forms.find((names) => names.every(has)) ?? null;
  }

  private instruction(row: Record<string, unknown>, file: string, line: number): Instruction {
    const text = (name: string, mayLack: boolean): string => {
      const value = row[name];
      if (typeof value === 'string') return value;
      if (mayLack && (value === undefined || value === null)) return '';
      throw malformed(file, line, `"${name}" is ${kind(value)}; a string is allowed`);
    };
    return { instruction: text('instruction', false), input: text(INPUT, true), output: text('output', false) };
  }

  private conversation(value: unknown[], column: string, file: string, line: number): Conversation {
    const wrong = value.findIndex((message) => !isMessage(message));
    if (value.length === 0) throw malformed(file, line, `"${column}" is an empty list; at least one message is needed`);
    if (wrong >= 0) throw malformed(file, line, `"${column}[${wrong}]" is not a message; {"role": "user", "content": "..."} is allowed`);
    let written: Conversation;
    try {
      this.write ??= conversationWriter(this.requireTemplate(column, file, line), this.reading.responseOnly === true);
      written = this.write(value as ChatMessage[]);
    } catch (error) {
      if (error instanceof ModelFilesError) throw error;
      throw malformed(file, line, `the model's chat template does not take "${column}": ${(error as Error).message}`);
    }
    if (written.unclear !== undefined)
      throw new ModelFilesError(
        'DATA_UNSUPPORTED',
        `${file}, line ${line}: response_only can't tell the response "${column}[${written.unclear}]" from what is around it: ` +
          "the model's chat template writes the messages before it otherwise when it follows",
        { file, line },
      );
    return written;
  }

  private requireTemplate(column: string, file: string, line: number): ChatTemplate {
    if (this.chatTemplate !== null) return this.chatTemplate;
    throw new ModelFilesError(
      'DATA_UNSUPPORTED',
      `${file}, line ${line}: "${column}" holds the messages of a conversation, but the model has no chat template ` +
        '(chat_template.jinja, or chat_template in tokenizer_config.json)',
      { file, line },
    );
  }
}

const FOR_RESPONSES = 'response_only is for conversations ("messages") and for the columns "instruction" and "output"';

function isMessage(value: unknown): value is ChatMessage {
  const { role, content } = (value ?? {}) as { role?: unknown; content?: unknown };
  return typeof role === 'string' && typeof content === 'string';
}

function kind(value: unknown): string {
  if (value === null) return 'null';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
