// Puts special tokens around a text that a model reads. The questions of tasks and the prompts of generated texts follow the same rule. It
// is the rule of transformers, with which published figures were made.
import { tokenContent, type TokenizerFiles } from '../load-tokenizer.js';
import { ModelFilesError } from '../model-files.errors.js';

export interface SpecialToken {
  content: string;
  id: number;
}

export class SpecialTokens {
  private constructor(
    readonly bos: SpecialToken | null,
    readonly eos: SpecialToken | null,
    /** The tokens that tokenizers of LLaMA's class put around a text, whatever tokenizer.json says; null: the post-processor decides. */
    private readonly rewritten: { before: number[]; after: number[] } | null,
  ) {}

  static of({ tokenizerJson, configJson }: Pick<TokenizerFiles, 'tokenizerJson' | 'configJson'>): SpecialTokens {
    const config = parsed(configJson, 'tokenizer_config.json') as Record<string, unknown>;
    const find = tokenFinder(parsed(tokenizerJson, 'tokenizer.json') as TokenTable);
    const bos = find(config['bos_token']);
    const eos = find(config['eos_token']);
    const rewrites = typeof config['tokenizer_class'] === 'string' && REWRITING_CLASS.test(config['tokenizer_class']);
    const added = (wanted: unknown, otherwise: boolean, one: SpecialToken | null): number[] =>
      (typeof wanted === 'boolean' ? wanted : otherwise) && one !== null ? [one.id] : [];
    const rewritten = { before: added(config['add_bos_token'], true, bos), after: added(config['add_eos_token'], false, eos) };
    return new SpecialTokens(bos, eos, rewrites ? rewritten : null);
  }

  /** Tells whether the tokenizer's post-processor adds the special tokens to this text. */
  leavesToPostProcessor(text: string): boolean {
    return this.rewritten === null && !this.beginsWithBos(text);
  }

  /** @param ids the ids of the text, encoded with special tokens only if `leavesToPostProcessor` */
  around<Ids extends Iterable<number>>(text: string, ids: Ids): Ids | number[] {
    return this.rewritten === null || this.beginsWithBos(text) ? ids : [...this.rewritten.before, ...ids, ...this.rewritten.after];
  }

  /** Tells whether the text already begins with BOS, so that it needs no special tokens. */
  private beginsWithBos(text: string): boolean {
    return this.bos !== null && text.startsWith(this.bos.content);
  }
}

const REWRITING_CLASS = /^(Code)?LlamaTokenizer(Fast)?$/;

interface TokenTable {
  model?: { vocab?: unknown };
  added_tokens?: { content?: unknown; id?: unknown }[];
}

/** @returns a function that finds the token for a value in tokenizer_config.json */
function tokenFinder({ model, added_tokens: added = [] }: TokenTable): (value: unknown) => SpecialToken | null {
  const vocabulary = model?.vocab;
  const byName = typeof vocabulary === 'object' && vocabulary !== null ? (vocabulary as Record<string, unknown>) : {};
  return (value) => {
    const content = tokenContent(value);
    if (content === undefined) return null;
    const id = added.find((one) => one.content === content)?.id ?? byName[content];
    return typeof id === 'number' ? { content, id } : null;
  };
}

function parsed(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelFilesError('TOKENIZER_INVALID', `${name} can't be used: ${(error as Error).message}`, { field: 'model_path' });
  }
}
