// The special tokens around a text that a model reads: one rule for the questions of tasks and for the prompts of generated
// texts. It is the rule of transformers, by which published figures were made.
import { tokenContent, type TokenizerFiles } from './load-tokenizer.js';
import { ModelFilesError } from './model-files.errors.js';

export interface SpecialToken {
  content: string;
  id: number;
}

export class SpecialTokens {
  private constructor(
    readonly bos: SpecialToken | null,
    readonly eos: SpecialToken | null,
    /** Tokenizers of LLaMA's class put these around a text, whatever tokenizer.json says; null: the post-processor decides. */
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

  /** Whether the tokenizer's post-processor adds its own to such a text. */
  leavesToPostProcessor(text: string): boolean {
    return this.rewritten === null && !this.beginsWithBos(text);
  }

  /** @param ids of the text, encoded as `leavesToPostProcessor` says */
  around<Ids extends Iterable<number>>(text: string, ids: Ids): Ids | number[] {
    return this.rewritten === null || this.beginsWithBos(text) ? ids : [...this.rewritten.before, ...ids, ...this.rewritten.after];
  }

  /** Such a text has its special tokens already. */
  private beginsWithBos(text: string): boolean {
    return this.bos !== null && text.startsWith(this.bos.content);
  }
}

const REWRITING_CLASS = /^(Code)?LlamaTokenizer(Fast)?$/;

interface TokenTable {
  model?: { vocab?: unknown };
  added_tokens?: { content?: unknown; id?: unknown }[];
}

/** @returns finds the token that tokenizer_config.json names */
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
