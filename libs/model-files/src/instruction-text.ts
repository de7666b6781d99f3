// Writes an instruction and its answer as one text, in the prompt with which the Alpaca data set was published. Models tuned on such rows,
// and published figures of those models, depend on its exact words.
import type { SourceDocument, Span } from './rows/read-bytes.js';

export interface Instruction {
  instruction: string;
  /** Further input to the instruction; '' where it needs none. */
  input: string;
  output: string;
}

export function instructionText({
  instruction,
  input,
  output,
}: Instruction): Pick<SourceDocument, 'text' | 'endsWithToken'> & { responses: Span[] } {
  const prompt =
    input === ''
      ? 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' +
        `### Instruction:\n${instruction}\n\n### Response:\n`
      : 'Below is an instruction that describes a task, paired with an input that provides further context. ' +
        'Write a response that appropriately completes the request.\n\n' +
        `### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:\n`;
  const text = prompt + output;
  return { text, endsWithToken: true, responses: [{ from: prompt.length, to: text.length }] };
}
