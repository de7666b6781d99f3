// The texts of a run, and the artifacts that hold their tokens.

/** How the texts are read. A field is absent where it has its usual value. */
export interface DataReading {
  moreTrainPaths?: string[] | undefined;
  moreValidationPaths?: string[] | undefined;
  textColumn?: string | undefined; // absent: the first column that a row has of text, messages, and instruction with output
  validationTextColumn?: string | undefined; // '': the first column that is there, as for the training text; absent: textColumn
  responseOnly?: true | undefined; // the run learns only the responses of the training text; absent: all of the text
  maxTrainTokens?: number | undefined; // absent, here and in the next line: all tokens
  maxValidationTokens?: number | undefined;
}

/** An artifact that holds tokens of a text. */
export interface TokenShard {
  digest: string;
  tokens: number;
}
/** A source of a training text. Its shards, one after another, are its text, and `parts` is its share of the sequences. */
export interface TokenSource {
  parts: number;
  shards: TokenShard[];
}

export interface DataIdentity extends DataReading {
  trainPath: string;
  /** How many of a million sequences come from trainPath and from each of moreTrainPaths. Absent where these paths are a single source. */
  trainParts?: number[] | undefined;
  /** The digest of the artifact that holds the tokens, or of trainSources. This digest and the others are '' until the run is prepared. */
  trainDigest: string;
  trainTokens: number;
  trainSources?: TokenSource[] | undefined; // only where the tokens lie in more than one artifact
  validationPath: string | null;
  validationDigest: string | null;
  validationTokens: number;
  tokenizerDigest: string;
}
