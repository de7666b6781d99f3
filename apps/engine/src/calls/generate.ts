// Handles Generate, which turns prompts into tokens and the following tokens into text. A text ends where a stop text begins. It also
// measures the speed of generation.
import { invalidField, invalidRequest, v1, type engineV1, type FieldViolation } from '#protocol';
import { TextTokenizer, type GrowingText } from '#model-files';
import {
  chosenDevice,
  generateWith,
  inspectModel,
  measureModelSpeed,
  measureSpeedTable,
  type GeneratedToken,
  type GenerationResult,
  type SpeedResult,
} from '#native-engine';
import { Batches } from './batches.js';
import { computeDtypeOf, exportKind } from './protocol-messages.js';
import type { EngineServiceParts } from '../service-parts.js';

const DEFAULT_TOKENS = 128;

export type GenerationParts = Pick<EngineServiceParts, 'holder' | 'models' | 'device' | 'threads'>;

export async function* generate(
  { holder, models, device, threads }: GenerationParts,
  request: engineV1.GenerateRequest,
  signal: AbortSignal,
): AsyncGenerator<engineV1.GenerateResponse> {
  if (request.modelPath === '') holder.require(request.sessionId);
  if (request.tokenizerPath === '') throw invalidField('FIELD_REQUIRED', 'tokenizer_path', 'is empty: a model folder is required');
  if (request.prompts.length === 0) throw invalidField('FIELD_REQUIRED', 'prompts', 'is empty: at least one prompt is required');
  const tokenizer = await TextTokenizer.read(models.folderOf(request.tokenizerPath), signal);
  const whole = request.prompts.map((prompt) => tokenizer.encode(prompt, request.wholePrompts));
  refuseEmpty(whole);
  const most = request.mostPromptTokens || Infinity;
  const ids = whole.map((prompt) => (prompt.length > most ? prompt.slice(-most) : prompt));
  const cutPrompts = whole.filter((prompt) => prompt.length > most).length;
  const texts = ids.map((prompt) => new Text(tokenizer.after(prompt), request.stop));
  const { temperature, seed } = request;
  const each = { maxTokens: request.maxTokens || DEFAULT_TOKENS, temperature, topP: request.topP || 1, seed };
  const options = {
    prompts: ids.map((prompt) => ({ ids: Uint32Array.from(prompt), ...each })),
    endTokens: Uint32Array.from(tokenizer.endTokens),
    computeDtype: computeDtypeOf(request.computeDtype, 'f32'),
    device,
    threads,
    intact: request.intact,
  };
  const pieces = new Batches<v1.TextPiece>();
  const onTokens = (tokens: GeneratedToken[], stop: (prompt: number) => void): void => {
    const made = tokens.flatMap((token) => texts[token.prompt]!.push(token, stop));
    if (made.length > 0) pieces.push(made);
  };
  const written = (stop: AbortSignal): Promise<GenerationResult> => {
    const job = { signal: stop, onTokens };
    return request.modelPath === ''
      ? holder.require(request.sessionId).session.generate(options, job)
      : generateWith(request.modelPath, options, job);
  };
  const running = holder.exclusive('Generate', written, signal).finally(() => pieces.end());
  running.catch(() => undefined); // awaited below, after the last piece
  for await (const batch of pieces) yield { pieces: joined(batch), outcome: undefined, cutPrompts: 0 };
  yield { pieces: [], outcome: await running, cutPrompts };
}

function refuseEmpty(prompts: readonly number[][]): void {
  const violations = prompts.flatMap((ids, index): FieldViolation[] =>
    ids.length > 0
      ? []
      : [{ field: `prompts[${index}]`, description: 'holds no token: at least one is needed to go on from', code: 'FIELD_REQUIRED' }],
  );
  if (violations.length > 0) throw invalidRequest(violations);
}

/** A text that is being generated. */
export class Text {
  /** The end of the text that is not sent yet, because it may be the beginning of a stop text. */
  private held = '';
  private tokens = 0;
  private ended = false;

  constructor(
    private readonly text: Pick<GrowingText, 'push' | 'end'>,
    private readonly stops: readonly string[],
  ) {}

  /** @param stop called with the prompt's index when no further token is needed */
  push({ prompt, id, finish }: GeneratedToken, stop: (prompt: number) => void): v1.TextPiece[] {
    if (this.ended) return []; // the token was made before the text was stopped
    if (finish !== 'end') {
      this.tokens += 1;
      this.held += this.text.push(id);
    }
    if (finish !== '') this.held += this.text.end();
    const at = firstOf(this.held, this.stops);
    const end =
      at >= 0
        ? v1.TextEnd.TEXT_END_STOP
        : finish === 'end'
          ? v1.TextEnd.TEXT_END_MODEL
          : finish === 'length'
            ? v1.TextEnd.TEXT_END_LENGTH
            : v1.TextEnd.TEXT_END_UNSPECIFIED;
    this.ended = end !== v1.TextEnd.TEXT_END_UNSPECIFIED;
    if (at >= 0 && finish === '') stop(prompt);
    const ready = at >= 0 ? at : this.ended ? this.held.length : this.held.length - beginningOfStop(this.held, this.stops);
    const text = this.held.slice(0, ready);
    this.held = this.held.slice(ready);
    return text === '' && !this.ended ? [] : [{ prompt, text, tokens: this.tokens, end }];
  }
}

/** Returns the place of the first stop text, or -1 where the text has no stop. */
function firstOf(text: string, stops: readonly string[]): number {
  const places = stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** Returns the number of characters at the end of the text that may be the beginning of a stop text. */
function beginningOfStop(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops)
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--)
      if (text.endsWith(stop.slice(0, length))) longest = length;
  return longest;
}

/** Joins the pieces of each text into one. */
function joined(pieces: readonly v1.TextPiece[]): v1.TextPiece[] {
  const byPrompt = new Map<number, v1.TextPiece>();
  for (const piece of pieces) {
    const before = byPrompt.get(piece.prompt);
    byPrompt.set(piece.prompt, before === undefined ? piece : { ...piece, text: before.text + piece.text });
  }
  return [...byPrompt.values()];
}

export async function* measureSpeed(
  { holder, device, threads }: GenerationParts,
  request: engineV1.MeasureSpeedRequest,
  signal: AbortSignal,
): AsyncGenerator<engineV1.MeasureSpeedResponse> {
  const { modelPath } = request;
  const session = request.sessionId === '' && modelPath !== '' ? null : holder.require(request.sessionId).session;
  const { dtype } = session?.model ?? (await inspectModel(modelPath, false, signal));
  const computeDtype = computeDtypeOf(request.computeDtype, dtype === 'f32' ? 'f32' : 'bf16');
  const options = {
    promptTokens: request.promptTokens || 128,
    tokens: request.tokens || 32,
    sequences: request.sequences || 1,
    rounds: request.rounds,
    computeDtype,
    modelFolder: modelPath || undefined,
    sizedAs: exportKind(request),
  };
  const shares = new Batches<number>();
  const measured = (stop: AbortSignal): Promise<SpeedResult> => {
    const job = { signal: stop, onReports: (batch: number[]) => shares.push(batch) };
    return session === null ? measureModelSpeed(modelPath, { ...options, device, threads }, job) : session.measureSpeed(options, job);
  };
  const running = holder.exclusive('MeasureSpeed', measured, signal).finally(() => shares.end());
  running.catch(() => undefined); // awaited below, after the last report
  for await (const batch of shares) yield { doneShare: batch.at(-1)!, outcome: undefined };
  yield { doneShare: 1, outcome: { ...(await running), computeDtype } };
}

export async function measureTable(
  { holder, models, device, threads }: GenerationParts,
  { modelPath, sequences, rounds, decode, context, computeDtype }: engineV1.MeasureSpeedTableRequest,
  signal: AbortSignal,
): Promise<engineV1.MeasureSpeedTableResponse> {
  if (modelPath === '') throw invalidField('FIELD_REQUIRED', 'model_path', 'is empty: a model folder is required');
  const folder = models.folderOf(modelPath);
  return holder.exclusive(
    'MeasureSpeedTable',
    async (stop) => {
      const model = await inspectModel(folder, false, stop);
      const dtype = computeDtypeOf(computeDtype, model.dtype === 'f32' ? 'f32' : 'bf16');
      const chosen = chosenDevice(device);
      const options = { folder, decode, context, sequences, rounds, computeDtype: dtype, device, threads };
      return {
        ...(await measureSpeedTable(options, stop)),
        computeDtype: dtype,
        device: chosen.model,
        instructionSet: chosen.instructionSet,
        threads: threads || chosen.threads,
        model,
      };
    },
    signal,
  );
}
