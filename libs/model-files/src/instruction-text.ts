// An instruction and its answer as one text, in the prompt that the Alpaca data set was published with: models tuned on such rows, and
// published figures of them, know it word for word.
import type { SourceDocument, Span } from './read-bytes.js';

export interface Instruction {
  instruction: string;
  /** '': the instruction needs none. */
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
