// The part of the native addon's shape that is about the model that is left: its export, its size and its speed.
import type { ComputeDtype, LayerWidth } from './native.js';

/** The content of an export: the one size of a pruned model. */
export interface ExportSize {
  parameterCount: number; // tied ones once, padding included
  multiplications: number; // the multiplications of a token with weights: all matrices but the embedding
  bytes: number; // the bytes of the weights as they are stored
}

/** The speeds of the session's model before and after pruning, measured in turns. */
export interface MeasureOptions {
  promptTokens: number;
  tokens: number; // decoded in each round, by each sequence
  sequences: number; // decoded together
  rounds: number; // 0: until the ratios are certain, as far as there is time
  computeDtype: ComputeDtype; // both models are also stored in this type
  device: string;
  threads: number;
  modelFolder?: string | undefined; // instead of the session's state
  sizedAs: ExportKind; // the export whose sizes are told
}

export interface SpeedTableOptions {
  folder: string; // the folder of a model, whose shape counts
  decode: boolean; // one token more for every sequence; else a prompt
  context: number; // tokens of the prompt, or those that a new token looks back on
  sequences: number; // decoded together
  rounds: number; // the rounds of each width; 0: as many as there is time for
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
}

/** The median of a part of a pass, with these widths. */
export interface PartTime {
  part: string;
  width: number; // 0 of parts without one
  hidden: number;
  seconds: number;
  spread: number; // half the width of the interval in which the median lies, as a share
}

export interface MeasuredSpeedTable {
  times: PartTime[];
  rounds: number; // the rounds of the width that had the fewest
  passSeconds: number; // the seconds of the intact model's pass; its parts add up to them
  passSpread: number;
}

/** The median over the rounds, and the interval in which that of many more rounds would lie in 95 of 100 cases. */
export interface MedianInterval {
  median: number;
  low: number;
  high: number;
}

/** Medians over the rounds. */
export interface Speed {
  prefillSeconds: number; // the seconds of one prompt
  passSeconds: number; // the seconds of one token more for every sequence
  prefillRatio: MedianInterval; // times by those of the first model in the same round
  passRatio: MedianInterval;
  weightBytes: number; // that a pass reads
  size: ExportSize;
}

export interface SpeedResult {
  models: Speed[]; // before pruning, then after
  rounds: number;
  copyBytesPerSecond: number; // read and written, by a copy of what no cache holds
}

export interface ExportKind {
  container: 'safetensors' | 'gguf';
  form: 'masked' | 'padded' | 'blocks' | 'compacted';
  dtype: 'f32' | 'bf16' | 'f16' | 'q8_0' | 'source';
  multipleOf: number; // MLP and hidden widths are rounded up to it
}

export interface ExportOptions extends ExportKind {
  outFolder: string; // must not exist, or be empty
  modelCard: string; // README.md; empty: a plain one
}

export interface ExportedModel {
  architecture: string; // as the container names it
  contextLength: number; // up to which it is the student
  notes: string[]; // facts that a user should know about the export
  files: { name: string; sizeBytes: number; sha256: string }[];
  parameterCount: number;
  totalBytes: number;
  hiddenSize: number;
  layers: LayerWidth[];
}
