export {
  prepareTokens,
  requireSources,
  type PrepareTokensOptions,
  type PreparedTokens,
  type TokenizingProgress,
} from './prepare-tokens.js';
export { ModelFilesError, type ModelFilesErrorCode } from './model-files.errors.js';
