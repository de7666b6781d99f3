// The part of the native addon's shape that is about the model that is left: its export, its size and its speed.
import type { ComputeDtype, LayerWidth } from './native.js';

/** The content of an export: the one size of a pruned model. */
export interface ExportSize {
  parameterCount: number; // tied parameters count once, and padding counts
  multiplications: number; // multiplications with weights for one token: all matrices but the embedding
  bytes: number; // the bytes of the weights as they are stored
}

/** The speeds of the session's model before and after pruning, measured in turns. */
export interface MeasureOptions {
  promptTokens: number;
  tokens: number; // the tokens that each sequence decodes in a round
  sequences: number; // decoded together
  rounds: number; // 0: until the ratios are certain, as far as there is time
  computeDtype: ComputeDtype; // both models are also stored in this type
  device: string;
  threads: number;
  modelFolder?: string | undefined; // instead of the session's state
  sizedAs: ExportKind; // the export whose sizes are reported
}

export interface SpeedTableOptions {
  folder: string; // the folder of a model, whose shape counts
  decode: boolean; // true: one more token for every sequence; false: a prompt
  context: number; // the tokens of the prompt, or the tokens before a new token
  sequences: number; // decoded together
  rounds: number; // the rounds of each width; 0: as many as there is time for
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
}

/** The median of a part of a pass, with these widths. */
export interface PartTime {
  part: string;
  width: number; // 0 for a part without a width
  hidden: number;
  seconds: number;
  spread: number; // half the width of the median's interval, as a share of the median
}

export interface MeasuredSpeedTable {
  times: PartTime[];
  rounds: number; // the least number of rounds of any width
  passSeconds: number; // the time of the intact model's pass; the times of its parts add up to it
  passSpread: number;
}

/** The median over the rounds, and an interval that holds the true median in 95 of 100 cases. */
export interface MedianInterval {
  median: number;
  low: number;
  high: number;
}

/** Medians over the rounds. */
export interface Speed {
  prefillSeconds: number; // the seconds of one prompt
  passSeconds: number; // the seconds of one more token for every sequence
  prefillRatio: MedianInterval; // each time divided by that of the first model in the same round
  passRatio: MedianInterval;
  weightBytes: number; // the bytes of weights that a pass reads
  size: ExportSize;
}

export interface SpeedResult {
  models: Speed[]; // before pruning, then after
  rounds: number;
  copyBytesPerSecond: number; // bytes read and written by a copy of a matrix that no cache holds
}

export interface ExportKind {
  container: 'safetensors' | 'gguf';
  form: 'masked' | 'padded' | 'blocks' | 'compacted';
  dtype: 'f32' | 'bf16' | 'f16' | 'q8_0' | 'source';
  multipleOf: number; // MLP and hidden widths are rounded up to it
}

export interface ExportOptions extends ExportKind {
  stateFile: string; // the file of the state
  outFolder: string; // must not exist, or be empty
  modelCard: string; // README.md; empty: a plain one
}

export interface ExportedModel {
  architecture: string; // the container's name of it
  contextLength: number; // the length up to which the export equals the student
  notes: string[]; // facts that a user should know about the export
  files: { name: string; sizeBytes: number; sha256: string }[];
  parameterCount: number;
  totalBytes: number;
  tensorBytes: number; // the weights without the headers of their files
  hiddenSize: number;
  layers: LayerWidth[];
}
