// Lets the engine write texts after prompts, by a run's state, an export or the intact model.
import type { ArtifactStore } from '#artifact-store';
import { EspalierError, v1, type engineV1 } from '#protocol';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { withSubject, type EngineModel, type Measurable, type Subject } from './subjects.js';

/** A request for texts without the fields that name the model. */
export type TextOptions = Pick<
  engineV1.GenerateRequest,
  'prompts' | 'maxTokens' | 'temperature' | 'topP' | 'seed' | 'stop' | 'computeDtype' | 'mostPromptTokens' | 'wholePrompts'
>;
export interface TextRequest extends TextOptions {
  run: Measurable;
  subject: Subject;
}

interface WrittenTexts {
  outcome: v1.GenerationOutcome;
  cutPrompts: number; // those that lost their beginning
}

/** @param onPieces called with the new parts of the texts as they are made */
export async function generateTexts(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open' | 'get' | 'pathOf'>,
  { run, subject, ...options }: TextRequest,
  onPieces: (pieces: v1.TextPiece[]) => void,
  signal: AbortSignal,
): Promise<v1.GenerationOutcome> {
  return withSubject(
    bench,
    artifacts,
    run,
    subject,
    async (model) => (await textsOf(bench, run, model, options, onPieces, signal)).outcome,
  );
}

/** Writes texts by a model that the engine has already. */
async function textsOf(
  bench: EngineWorkbench,
  run: Measurable,
  model: EngineModel,
  options: TextOptions,
  onPieces: (pieces: v1.TextPiece[]) => void,
  signal: AbortSignal,
): Promise<WrittenTexts> {
  // An export's tokenizer is that of the run's model, since a GGUF file has no tokenizer.json.
  const request = { ...options, ...model, tokenizerPath: run.model.path };
  let [outcome, cutPrompts]: [v1.GenerationOutcome | undefined, number] = [undefined, 0];
  for await (const message of bench.engine.client.generate(request, signal)) {
    if (message.pieces.length > 0) onPieces(message.pieces);
    if (message.outcome !== undefined) ({ outcome, cutPrompts } = message);
  }
  if (outcome === undefined) throw new EspalierError('ENGINE_FAILED', 'the engine sent no GenerateResponse.outcome');
  return { outcome, cutPrompts };
}

/** Writes the whole texts, in the order of their prompts, by a model that the engine has already. */
export async function wholeTexts(
  bench: EngineWorkbench,
  run: Measurable,
  model: EngineModel,
  options: TextOptions,
  onDone: (texts: number) => void,
  signal: AbortSignal,
): Promise<WrittenTexts & { texts: string[] }> {
  const texts = options.prompts.map(() => '');
  let done = 0;
  const add = (pieces: v1.TextPiece[]): void => {
    for (const { prompt, text, end } of pieces) {
      texts[prompt] = `${texts[prompt]}${text}`;
      if (end !== v1.TextEnd.TEXT_END_UNSPECIFIED) onDone(++done);
    }
  };
  return { texts, ...(await textsOf(bench, run, model, options, add, signal)) };
}
