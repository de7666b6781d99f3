// Asks the user before an action that can't be undone.
import { createInterface } from 'node:readline/promises';
import { CliError, ExitCode } from '../cli-error.js';

/** @param otherwise what happens if the answer is no @throws CliError if the answer is no, or if there is no terminal to ask at */
export async function confirm(question: string, otherwise: string): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new CliError('CONFIRMATION_NEEDED', `${question} No terminal is there to ask at`, {
      exitCode: ExitCode.usage,
      hint: 'say --yes',
    });
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await prompt.question(`${question} [y/N] `).finally(() => prompt.close());
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError('NOT_CONFIRMED', otherwise, { exitCode: ExitCode.failed });
}
