// The command generate, which prints texts that a run's model writes.
import { Option, type Command } from 'commander';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import { HubFiles } from '../../options/hub-files.js';
import { MODEL_OPTION } from '../../options/model-option.js';
import { bigNumber, number, positiveNumber, share, wholeNumber } from '../../options/parse.js';
import { typedOption } from '../../options/typed-values.js';
import { count, decimal } from '../../output/format.js';
import type { Output } from '../../output/output.js';
import { LiveLine } from '../../progress/live-line.js';
import { action, examples } from '../command.js';

interface GenerateOptions {
  model?: string;
  teacher?: number;
  intact?: boolean;
  export?: string;
  maxTokens?: number;
  temperature?: number;
  topP?: number;
  seed?: bigint;
  stop?: string[];
  dtype?: string;
  chat?: boolean;
}

const ENDS: Partial<Record<v1.TextEnd, string>> = {
  [v1.TextEnd.TEXT_END_MODEL]: 'the model ended it',
  [v1.TextEnd.TEXT_END_STOP]: 'a stop text came',
  [v1.TextEnd.TEXT_END_LENGTH]: 'its length is reached',
};

export function registerGenerate(program: Command): void {
  const generate = program
    .command('generate')
    .argument('[run]', 'its id, the first 4 or more characters of it, or its name; left out with --model')
    .argument('[prompt...]', 'texts to continue; with --chat, messages of a user')
    .summary('text by a run, one of its teachers, an export, or the intact model')
    .description(
      'Goes on from a prompt with the last state of a run, and writes the text as it is made. Without a temperature the likeliest token ' +
        'is always taken. With one, equal seeds give equal texts, whatever other prompts there are. Nothing is recorded. Control ' +
        'characters are made visible; --json has the text as it is.',
    )
    .option(MODEL_OPTION[0], `a model without a run: ${MODEL_OPTION[1]}`, MODEL_OPTION[2])
    .option('--teacher <mark>', 'this teacher instead', wholeNumber)
    .option('--intact', 'the model before pruning instead')
    .option('--export <digest>', 'an exported model of the run instead (4 or more digits of its digest)')
    .option('--max-tokens <n>', 'length of each text (default: 128)', positiveNumber)
    .option('--temperature <t>', '0: always the likeliest token; 1: tokens with the probabilities of the model (default: 0)', number)
    .addOption(
      typedOption(
        new Option('--top-p <share>', 'only the likeliest tokens, which together have this share of the probability (0.9 or 90%)'),
        share,
      ),
    )
    .option('--seed <n>', 'seed of the random numbers (default: 0)', bigNumber)
    .option('--stop <text>', 'end a text before this one; may be given again', gathered)
    .option('--chat', "answer: the model's own chat template writes each prompt as the message of a user")
    .option('--dtype <type>', 'f32 or bf16 (default: f32)');
  examples(
    generate,
    ['espalier generate k3f9 "Once upon"'],
    ['espalier generate k3f9 "Once upon" --intact --max-tokens 40'],
    ['espalier generate --model HuggingFaceTB/SmolLM2-135M "Once upon"', 'a model without a run'],
    ['espalier generate k3f9 --chat "Who wrote Faust?"'],
    ['espalier generate k3f9 "Q: Who? A:" "Q: Where? A:" --temperature 0.8 --top-p 0.95 --seed 7 --stop "Q:"'],
  );
  action<GenerateOptions>(generate, async (context, names, options) => {
    const { connection, output, signal } = context;
    const { model } = options;
    const [runId, ...prompts] = model === undefined ? names : ['', ...names];
    if (runId === undefined || prompts.length === 0)
      throw new CliError('USAGE', 'a run, or --model, and a prompt are needed', { exitCode: ExitCode.usage });
    const request = v1.GenerateRequest.fromPartial({
      runId,
      modelPath: model === undefined ? '' : await new HubFiles(context).model(model),
      teacherMark: options.teacher,
      intact: options.intact ?? false,
      exportDigest: options.export ?? '',
      prompts,
      maxTokens: options.maxTokens ?? 0,
      temperature: options.temperature ?? 0,
      topP: options.topP,
      seed: options.seed ?? 0n,
      stop: options.stop ?? [],
      computeDtype: options.dtype ?? '',
      chat: options.chat ?? false,
    });
    const live = new LiveLine(output.terminal);
    const texts = new Texts(output, prompts, options.chat === true ? '\n' : '');
    let outcome: v1.GenerationOutcome | undefined;
    try {
      for await (const message of connection.stream(connection.runs, connection.runs.generate, request, signal, asItIs)) {
        if (message.waitingFor !== '') live.update(`waiting for ${message.waitingFor}`);
        else live.end();
        message.pieces.forEach((piece) => texts.add(piece));
        outcome = message.outcome ?? outcome;
      }
    } finally {
      live.end();
      texts.close();
    }
    if (outcome === undefined)
      throw new CliError('RESULT_MISSING', 'the server ended the text without a result; try again', { exitCode: ExitCode.failed });
    writeOutcome(output, texts, outcome, live);
  });
}

function gathered(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** Leaves an answer as the server sent it. `Texts` prints it in a form that suits the output. */
const asItIs = (message: v1.GenerateResponse): v1.GenerateResponse => message;

/** Prints texts: a single text while it is written, several texts each at its end. */
class Texts {
  readonly all: { prompt: string; text: string; tokens: number; end: string }[];
  private open = false;

  /** @param between the text between a prompt and its answer */
  constructor(
    private readonly output: Output,
    prompts: readonly string[],
    private readonly between: string,
  ) {
    this.all = prompts.map((prompt) => ({ prompt, text: '', tokens: 0, end: '' }));
  }

  add({ prompt, text, tokens, end }: v1.TextPiece): void {
    const one = this.all[prompt];
    if (one === undefined) return;
    const first = one.text === '';
    one.text += text;
    one.tokens = tokens;
    one.end = ENDS[end] ?? '';
    if (this.output.json) return;
    if (this.all.length === 1) {
      this.output.piece(`${first ? this.lead(one.prompt) : ''}${text}`);
      this.open = true;
    } else if (one.end !== '') this.output.piece(`${this.lead(one.prompt)}${one.text}\n\n`);
  }

  private lead(prompt: string): string {
    return `${this.output.style('dim', prompt)}${this.between}`;
  }

  /** Ends the current line. */
  close(): void {
    if (this.open) this.output.line();
    this.open = false;
  }
}

function writeOutcome(output: Output, texts: Texts, outcome: v1.GenerationOutcome, live: LiveLine): void {
  output.result({ texts: texts.all, outcome }, () => {
    const ends = [...new Set(texts.all.map(({ end }) => end))];
    const { generatedTokens, decodeSeconds } = outcome;
    const speed = decodeSeconds > 0 ? `, ${decimal(Number(generatedTokens) / decodeSeconds, 0)} tokens/s` : '';
    live.note(`${count(generatedTokens)} tokens${speed}${ends.length === 1 ? `; ${ends[0]}` : ''}`);
  });
}
