// Describes the text that tokens are made of, and where the tokens are stored.
import type { ArtifactStore } from '#artifact-store';

export interface TokenizingProgress {
  bytesDone: number;
  bytesTotal: number;
  documents: number;
  tokens: number;
}
/** The text that tokens are made of. */
export interface TextSource {
  /** Data files, or folders of data files, in the order of reading. */
  paths: string[];
  /**
   * The fields of the request that named the paths, for errors. Where there are fewer fields than paths, the last field holds for the rest.
   */
  fields?: string[];
  /** The field or column that holds the text; undefined: "text", "messages", or "instruction" and "output", whichever is there. */
  textColumn?: string;
  /** Whether only responses are learned, and all other text is context. */
  responseOnly?: boolean;
  /** Reading ends after this number of tokens; undefined: at the end of the text. */
  maxTokens?: number | undefined;
}
export interface PrepareTokensOptions {
  /** The folder with tokenizer.json. */
  modelPath: string;
  text: TextSource;
  /** The model's vocab_size. Ids from 0 to vocab_size - 1 are allowed. */
  vocabularySize: number;
  store: ArtifactStore;
  /** The folder that remembers prepared texts; undefined: a folder beside the artifacts. */
  indexFolder?: string;
  onProgress?: (progress: TokenizingProgress) => void;
  /** The time in ms that the tokenizer may take for a document beside the time for its length. */
  documentTimeLimitMs?: number;
  signal?: AbortSignal;
}
