export { prepareTokens, requireSources, type TextSource, type PreparedTokens, type TokenizingProgress } from './prepare-tokens.js';
export { listed, ModelFilesError } from './model-files.errors.js';
export { requireTokenizer } from './load-tokenizer.js';
export { readSplit, type LocatedRow, type Row } from './read-rows.js';
export { openTextEncoder, type TextEncoder } from './text-encoder.js';
export { idOf } from './token-words.js';
export { GrowingText, TextTokenizer } from './text-tokenizer.js';
export { jinja } from './jinja.js';
export { messagesFrom, readingProcess, startReading } from './reading-process.js';
