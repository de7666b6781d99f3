export { prepareTokens, requireSources, type TextSource, type PreparedTokens, type TokenizingProgress } from './prepare-tokens.js';
export { ModelFilesError } from './model-files.errors.js';
export { requireTokenizer } from './load-tokenizer.js';
export { GrowingText, TextTokenizer } from './text-tokenizer.js';
