export {
  prepareTokens,
  prepareTokenShards,
  requireSources,
  SHARD_TOKENS,
  type PreparedShards,
  type PreparedTokens,
} from './prepare-tokens.js';
export type { TextSource, TokenizingProgress } from './text-source.js';
export { isDataFile } from './data-files.js';
export { rememberedTokens } from './token-index.js';
export { requireGoodStart } from './text-start.js';
export { listed, ModelFilesError } from './model-files.errors.js';
export { requireTokenizer } from './load-tokenizer.js';
export { ggufHeaderBytes } from './gguf-header.js';
export { readSplit, type LocatedRow, type Row } from './read-rows.js';
export { openTextEncoder, type TextEncoder } from './text-encoder.js';
export { idOf } from './token-words.js';
export { GrowingText, TextTokenizer } from './text-tokenizer.js';
export { chatPrompts } from './chat-prompts.js';
export { jinja } from './jinja.js';
export { messagesFrom, readingProcess, startReading } from './reading-process.js';
