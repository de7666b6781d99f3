// Which text tokens are made of, and where they go.
import type { ArtifactStore } from '#artifact-store';

export interface TokenizingProgress {
  bytesDone: number;
  bytesTotal: number;
  documents: number;
  tokens: number;
}
/** The text to make tokens of. */
export interface TextSource {
  /** Data files, or folders of them, in the order that they are read. */
  paths: string[];
  /** The request fields that the paths came from, for errors; fewer: the last one goes on. */
  fields?: string[];
  /** The field or column with the text; by default "text", "messages", or "instruction" and "output", whichever is there. */
  textColumn?: string;
  /** All but responses is only context. */
  responseOnly?: boolean;
  /** Reading ends after this number of tokens. */
  maxTokens?: number | undefined;
}
export interface PrepareTokensOptions {
  /** Folder with tokenizer.json. */
  modelPath: string;
  text: TextSource;
  /** The model's vocab_size: ids from 0 to one below it are allowed. */
  vocabularySize: number;
  store: ArtifactStore;
  /** Where prepared corpora are remembered; by default beside a folder store. */
  indexFolder?: string;
  onProgress?: (progress: TokenizingProgress) => void;
  /** How long the tokenizer may take for a document, beside what its length takes. */
  documentTimeLimitMs?: number;
  signal?: AbortSignal;
}
