// The size of what a GGUF file holds beside its tensors. Most of it is the tokenizer, which the engine writes
// (core/export/gguf/gguf_tokenizer.cpp).
import { readModelFile, readTokenizerConfig, readTokenizerFiles } from './load-tokenizer.js';

/** Lengths of texts and counts of arrays. */
const NUMBER = 8;
/** The type of a token, and its score. */
const TOKEN_OVERHEAD_BYTES = 4;
/** Keys with their values beside the tokenizer's arrays, and the card of the run. */
const KEYS_BYTES = 3_000;
/** A tensor's name, shape, type and place, and what fills it up to 32 bytes. */
const TENSOR_ENTRY_BYTES = 80;
const TENSORS_PER_LAYER = 9;
const TEMPLATE_BYTES_MAX = 1 << 20;

interface Described {
  model?: { vocab?: unknown; merges?: unknown; byte_fallback?: unknown };
  added_tokens?: unknown;
}

/**
 * Returns the size of a GGUF file's header, to within a few kilobytes. A tokenizer that GGUF can't hold is counted in part: the export
 * refuses it later.
 */
export async function ggufHeaderBytes(modelPath: string, vocabularySize: number, layers: number): Promise<number> {
  const { tokenizerJson } = await readTokenizerFiles(modelPath);
  const { model = {}, added_tokens: added } = readObject(tokenizerJson) as Described;
  const words = new Map<unknown, string>();
  if (typeof model.vocab === 'object' && model.vocab !== null) for (const [text, id] of Object.entries(model.vocab)) words.set(id, text);
  for (const token of Array.isArray(added) ? (added as { id?: unknown; content?: unknown }[]) : [])
    if (typeof token.content === 'string') words.set(token.id, token.content);
  const tokens =
    [...words.values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0) + vocabularySize * (NUMBER + TOKEN_OVERHEAD_BYTES);
  // Merges become scores where the tokenizer is SentencePiece's.
  const merges = model.byte_fallback === true ? vocabularySize * TOKEN_OVERHEAD_BYTES : mergesBytes(model.merges);
  const template = await templateBytes(modelPath);
  return tokens + merges + template + KEYS_BYTES + TENSOR_ENTRY_BYTES * TENSORS_PER_LAYER * layers;
}

function mergesBytes(merges: unknown): number {
  if (!Array.isArray(merges)) return 0;
  const text = (merge: unknown): string => (Array.isArray(merge) ? merge.join(' ') : String(merge));
  return merges.reduce((sum: number, merge) => sum + NUMBER + Buffer.byteLength(text(merge)), 0);
}

async function templateBytes(modelPath: string): Promise<number> {
  const config = readObject((await readTokenizerConfig(modelPath)).toString('utf8')) as { chat_template?: unknown };
  if (typeof config.chat_template === 'string') return Buffer.byteLength(config.chat_template);
  return (await readModelFile(modelPath, 'chat_template.jinja', TEMPLATE_BYTES_MAX))?.length ?? 0;
}

/** A file that is wrong counts as empty: loading it says what is wrong. */
function readObject(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}
