export {
  prepareTokens,
  prepareTokenShards,
  requireSources,
  SHARD_TOKENS,
  type PreparedShards,
  type PreparedTokens,
} from './tokens/prepare-tokens.js';
export type { TextSource, TokenizingProgress } from './tokens/text-source.js';
export { isDataFile } from './rows/data-files.js';
export { rememberedTokens } from './tokens/token-index.js';
export { requireGoodStart } from './text-start.js';
export { listed, ModelFilesError } from './model-files.errors.js';
export { requireTokenizer } from './load-tokenizer.js';
export { ggufHeaderBytes } from './gguf-header.js';
export { readSplit, type LocatedRow, type Row } from './rows/read-rows.js';
export { openTextEncoder, type TextEncoder } from './tokens/text-encoder.js';
export { idOf } from './tokens/token-words.js';
export { GrowingText, TextTokenizer } from './tokens/text-tokenizer.js';
export { chatPrompts } from './chat-prompts.js';
export { jinja } from './jinja.js';
export { messagesFrom, readingProcess, startReading } from './reading-process.js';
