// Texts on a terminal: whatever a prompt or a model says, nothing in it acts there; and what is wrong is said of the prompt.
import { EspalierError, v1 } from '#protocol';
import { runCli, type CliResult } from './testing/run-cli.js';
import { TestServer, type Answers } from './testing/test-server.js';

async function generate(answer: NonNullable<Answers['generate']>, ...args: string[]): Promise<CliResult> {
  const server = await TestServer.start({ generate: answer });
  const result = await runCli(['generate', 'k3f9', ...args, '--server', server.address]);
  server.stop();
  return result;
}

async function* says(...texts: string[]): AsyncGenerator<v1.GenerateResponse> {
  for (const [prompt, text] of texts.entries()) yield v1.GenerateResponse.fromPartial({ pieces: [{ prompt, text, tokens: 1, end: 1 }] });
  yield v1.GenerateResponse.fromPartial({ outcome: { generatedTokens: 1n } });
}

test('escapes and marks in prompts and texts are shown, not obeyed', async () => {
  const one = await generate(() => says('\u001b[2J\u202eafter\nit'), '\u001b[31mred\u0007');
  expect(one.stdout).toBe('\\u{1b}[31mred\\u{7}\\u{1b}[2J\\u{202e}after\nit\n');
  const two = await generate(() => says('a', '\u009bb'), '\u001b[1mx', 'y');
  expect(two.stdout).toContain('\\u{1b}[1mxa');
  expect(two.stdout).toContain('y\\u{9b}b');
  expect(one.stdout + two.stdout).not.toMatch(/(?!\n)\p{Cc}/u);
});

test('what is wrong with a prompt is said of the prompt', async () => {
  const refused = await generate(() => {
    const violation = { field: 'prompts[0]', description: 'has 60001 tokens', code: 'INVALID_ARGUMENT' };
    throw new EspalierError('INVALID_ARGUMENT', 'has 60001 tokens', { violations: [violation] });
  }, 'a prompt');
  expect(refused).toMatchObject({ exitCode: 2, stderr: 'error INVALID_ARGUMENT: PROMPT: has 60001 tokens\n' });
});

test.each([
  ['generate', 'k3f9', 'x', '--max-tokens', '0'],
  ['bench', 'k3f9', '--batch', '0'],
  ['bench', 'k3f9', '--rounds', '0'],
  ['gc', 'k3f9', '--keep-every', '0'],
])('%s %s %s %s: 0 would silently stand for what is left out', async (...args) => {
  expect(await runCli(args)).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/A whole number from 1 on is allowed/) });
});
