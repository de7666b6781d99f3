// The texts of a run, and the artifacts that hold their tokens.

/** How text is read; usual values are left out. */
export interface DataReading {
  moreTrainPaths?: string[] | undefined;
  moreValidationPaths?: string[] | undefined;
  textColumn?: string | undefined; // the first that is there: text, messages, instruction and output
  validationTextColumn?: string | undefined; // of the validation text: '' the first that is there; absent: textColumn
  responseOnly?: true | undefined; // of the training text: all of it is learned
  maxTrainTokens?: number | undefined; // all
  maxValidationTokens?: number | undefined;
}

/** An artifact of tokens. */
export interface TokenShard {
  digest: string;
  tokens: number;
}
/** A source of a training text, and its part of the sequences. Its shards one behind the other are its text. */
export interface TokenSource {
  parts: number;
  shards: TokenShard[];
}

export interface DataIdentity extends DataReading {
  trainPath: string;
  /** How many of a million sequences come from trainPath and from each of moreTrainPaths. Absent: these paths are a single source. */
  trainParts?: number[] | undefined;
  /** The digest of the tokens, an artifact, or of trainSources; '' (and the other digests empty) until the run is prepared. */
  trainDigest: string;
  trainTokens: number;
  trainSources?: TokenSource[] | undefined; // where the tokens are more than one artifact
  validationPath: string | null;
  validationDigest: string | null;
  validationTokens: number;
  tokenizerDigest: string;
}
