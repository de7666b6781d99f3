// Tests texts on a terminal: no text of a prompt or a model acts upon it, and errors about a prompt name the prompt.
import { EspalierError, v1 } from '#protocol';
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { programFile } from '#files';
import { runCli, type CliResult } from '../../testing/run-cli.js';
import { TestServer, type Answers } from '../../testing/test-server.js';

const MAIN = programFile(new URL('../../main.js', import.meta.url));

async function generate(answer: NonNullable<Answers['generate']>, ...args: string[]): Promise<CliResult> {
  const server = await TestServer.start({ generate: answer });
  const result = await runCli(['generate', 'k3f9', ...args, '--server', server.address]);
  server.stop();
  return result;
}

/** Returns everything that the command writes to a terminal of its own. */
async function generateOnTerminal(answer: NonNullable<Answers['generate']>, ...prompts: string[]): Promise<string> {
  const server = await TestServer.start({ generate: answer });
  const quoted = [process.execPath, MAIN, 'generate', 'k3f9', ...prompts, '--server', server.address].map((part) => `'${part}'`);
  const child = spawn('script', ['-qec', quoted.join(' '), '/dev/null'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const shown = await text(child.stdout);
  server.stop();
  return shown.replaceAll('\r\n', '\n');
}

async function* says(...texts: string[]): AsyncGenerator<v1.GenerateResponse> {
  for (const [prompt, text] of texts.entries()) yield v1.GenerateResponse.fromPartial({ pieces: [{ prompt, text, tokens: 1, end: 1 }] });
  yield v1.GenerateResponse.fromPartial({ outcome: { generatedTokens: 1n } });
}

test('escapes and marks in prompts and texts are shown on a terminal, not obeyed', async () => {
  const one = await generateOnTerminal(() => says('\u001b[2J\u202eafter\nit\t!\u001b[31m'), '\u001b[31mred\u0007');
  expect(one).toContain('\\u{1b}[31mred\\u{7}');
  expect(one).toContain('\\u{1b}[2J\\u{202e}after\nit\\t!\\u{1b}[31m');
  const two = await generateOnTerminal(() => says('a', '\u009bb'), '\u001b[1mx', 'y');
  expect(two).toContain('\\u{1b}[1mx');
  expect(two).toContain('\\u{9b}b');
  expect(one + two).not.toMatch(/\u001b\[(2J|31m)|\u009b|\u202e|\u0007/);
});

test('escapes in prompts and texts are shown in a pipe too, and JSON has what the model wrote', async () => {
  const written = 'a\tb\u001b[2J\u001b[31m\u202e\nc';
  const shown = 'a\\tb\\u{1b}[2J\\u{1b}[31m\\u{202e}\nc';
  const piped = await generate(() => says(written), 'Say\u001b[32m');
  expect(piped.stdout).toBe(`Say\\u{1b}[32m${shown}\n`);
  const several = await generate(() => says(written, 'xy'), 'one', 'two');
  expect(several.stdout).toBe(`one${shown}\n\ntwoxy\n\n`);
  const json = await generate(() => says(written), 'Say\t', '--json');
  expect(JSON.parse(json.stdout)).toMatchObject({ texts: [{ prompt: 'Say\t', text: written }] });
  expect(json.stdout).not.toMatch(/(?!\n)\p{Cc}/u); // JSON escapes them
});

test('a chat asks for the template, and the answer stands below the message', async () => {
  const asked: v1.GenerateRequest[] = [];
  const result = await generate((request) => {
    asked.push(request);
    return says('Goethe.');
  }, '--chat', 'Who wrote Faust?'); // prettier-ignore
  expect(asked).toMatchObject([{ chat: true, prompts: ['Who wrote Faust?'] }]);
  expect(result.stdout).toBe('Who wrote Faust?\nGoethe.\n');
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
  ['bench', 'k3f9', '--rounds', '0'],
  ['gc', 'k3f9', '--keep-every', '0'],
  ['gc', 'k3f9', '--keep-every', '-1'],
  ['gc', 'k3f9', '--keep-every', 'all'],
])('%s %s %s %s: the range is told, and 0 would silently stand for what is left out', async (...args) => {
  expect(await runCli(args)).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/A whole number from 1 on is allowed/) });
});

test.each(['0', '17'])('--batch %s: the engine decodes 1 to 16 texts together', async (batch) => {
  const launch = ['launch', '--model', 'm', '--data', 'd', '--target-speedup', '2', '--on', 'cpu'];
  for (const command of [['bench', 'k3f9'], launch])
    expect(await runCli([...command, '--batch', batch])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/'--batch <n>' argument '\d+' is invalid. A whole number from 1 to 16 is allowed/),
    });
});
