// A model's tokenizer in both directions: prompts to tokens, and tokens to text as they arrive.
import { join } from 'node:path';
import { readUserFile, UserFileError } from '#files';
import { loadTokenizer, readTokenizerFiles, type Tokenizer } from '../load-tokenizer.js';
import { ModelFilesError } from '../model-files.errors.js';
import { SpecialTokens } from './special-tokens.js';
import { withinTokenLimit } from '../tokenizer-limits.js';

const CONFIG_BYTES_MAX = 16 << 20;

export class TextTokenizer {
  private constructor(
    private readonly tokenizer: Tokenizer,
    private readonly special: SpecialTokens,
    /** The tokens that end a text. */
    readonly endTokens: readonly number[],
  ) {}

  /** @param folder the folder of a Hugging Face model */
  static async read(folder: string, signal?: AbortSignal): Promise<TextTokenizer> {
    const files = await readTokenizerFiles(folder, signal);
    return new TextTokenizer(loadTokenizer(files), SpecialTokens.of(files), await readEndTokens(folder, signal));
  }

  /**
   * Encodes a text with special tokens.
   * @param isWhole the text already holds the special tokens that it needs, so none is added
   * @throws ModelFilesError where a character has no token, or the text gives too many tokens
   */
  encode(text: string, isWhole = false): number[] {
    const { ids, tokens } = withinTokenLimit({ text, file: 'the prompt', line: 1 }, () =>
      this.tokenizer.encode(text, { add_special_tokens: !isWhole && this.special.leavesToPostProcessor(text) }),
    );
    const known = ids.map((id, index) => {
      if (id !== undefined) return id;
      throw new ModelFilesError('TOKENIZER_MISMATCH', `the tokenizer has no id for ${JSON.stringify(tokens[index])}`, {
        field: 'model_path',
      });
    });
    return isWhole ? known : [...this.special.around(text, known)];
  }

  /** Returns a text that grows after a prompt. */
  after(prompt: readonly number[]): GrowingText {
    return new GrowingText(this.tokenizer, prompt);
  }
}

/**
 * The number of the prompt's last tokens that are decoded with the text. A tokenizer may drop a space at the beginning of a text, and these
 * tokens prevent that.
 */
const CONTEXT_TOKENS = 8;
/** The character that stands for bytes that are not a whole character yet. */
const INCOMPLETE = '\uFFFD';

/** Takes tokens, and gives text as soon as its characters are complete. */
export class GrowingText {
  private readonly ids: number[];
  /** The number of characters that were returned already. The tokens from `context` on are decoded together. */
  private out: number;
  private context = 0;

  constructor(
    private readonly tokenizer: Pick<Tokenizer, 'decode'>,
    prompt: readonly number[],
  ) {
    this.ids = prompt.slice(-CONTEXT_TOKENS);
    this.out = this.ids.length;
  }

  push(id: number): string {
    this.ids.push(id);
    const text = this.rest();
    return text === '' || text.endsWith(INCOMPLETE) ? '' : this.append(text);
  }

  /** Returns the rest of the text when no further token comes. */
  end(): string {
    return this.append(this.rest());
  }

  private rest(): string {
    return this.decode(this.context).slice(this.decode(this.context, this.out).length);
  }

  private append(text: string): string {
    this.context = this.out;
    this.out = this.ids.length;
    return text;
  }

  private decode(from: number, to?: number): string {
    const ids = this.ids.slice(from, to);
    return ids.length === 0 ? '' : this.tokenizer.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  }
}

/** Reads the end tokens of generation_config.json, which may name several, or else of config.json. */
async function readEndTokens(folder: string, signal?: AbortSignal): Promise<number[]> {
  for (const name of ['generation_config.json', 'config.json']) {
    const ids = endTokensOf(await readJson(join(folder, name), signal));
    if (ids.length > 0) return ids;
  }
  return [];
}

function endTokensOf(config: unknown): number[] {
  const named = (config as { eos_token_id?: unknown } | null)?.eos_token_id;
  return (Array.isArray(named) ? (named as unknown[]) : [named]).filter((id) => Number.isInteger(id) && (id as number) >= 0) as number[];
}

async function readJson(file: string, signal?: AbortSignal): Promise<unknown> {
  try {
    return JSON.parse((await readUserFile(file, CONFIG_BYTES_MAX, signal)).toString('utf8'));
  } catch (error) {
    if (error instanceof UserFileError) {
      if (error.code === 'FILE_NOT_FOUND') return null;
      const code = error.code === 'FILE_UNUSABLE' ? 'DATA_UNREADABLE' : error.code;
      throw new ModelFilesError(code, error.message, { field: 'model_path', file });
    }
    throw new ModelFilesError('MODEL_CONFIG_INVALID', `${file} is not JSON: ${(error as Error).message}`, { field: 'model_path', file });
  }
}
