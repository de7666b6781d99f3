// Checks the model and the data of a run before the run is accepted, so that mistakes are reported at once.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import {
  ggufHeaderBytes,
  prepareTokens,
  prepareTokenShards,
  requireGoodStart,
  requireSources,
  requireTokenizer,
  SHARD_TOKENS,
} from '#model-files';
import { EspalierError, invalidField, invalidRequest, namesTableFile, toEspalierError } from '#protocol';
import type { RunToFit } from '../engine-pool/engine-source.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { PlaceForRun } from '../engine-pool/placement.js';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { ARTIFACT_STORE } from '../provider-names.js';
import { canonicalJson, sha256Hex } from '../event-sourcing/canonical-json.js';
import type { Budget, DataIdentity, ModelIdentity, RunSettings, TokenSource } from '../pruning-run/record/pruning-run.events.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.state.js';
import { groupViolations } from '../pruning-run/method/gates.js';
import { typeInBlocks, typeViolations } from '../pruning-run/method/gguf-types.js';
import { keptByLayer, requireNoTarget, sparsityOfWidths, widthsOfModelViolations } from '../pruning-run/method/layer-widths.js';
import { learnsFromText, prunesAtOnce } from '../pruning-run/method/phases.js';
import { memoryOnCard } from '../pruning-run/planning/card-estimate.js';
import type { Card } from '../pruning-run/planning/cards.js';
import { fits, fittingSettings } from '../pruning-run/planning/fitting-settings.js';
import { amountViolations, budgetsOf, choosesWidths, type ReadTable } from '../pruning-run/method/budget.js';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import {
  followingSteps,
  resolveSettings,
  settingsViolations,
  timeViolations,
  withGroupGates,
  type RequestedSettings,
} from '../pruning-run/method/run-settings.js';
import { modelIdentity, modelShape } from './described-model.js';
import { Libraries, type FrontierQuery } from './library.js';
import { readTable } from './read-speed-table.js';
import type { RunPlan } from './run-plan.js';
import { namedData, requireEnoughBytes, trainTexts, validationText, type DataSource, type TokenNeed } from './named-data.js';
import { TokenizingWords, type PreparationProgress } from './tokenizing-words.js';

/** Stands for the digest of a table that is not measured yet. */
const TABLE_TO_COME = '0'.repeat(64);

/** The model and the data of a run, with their digests. */
export interface Prepared {
  model: ModelIdentity;
  data: DataIdentity;
}

/** The facts of a model that decide about the tokens of a text. */
interface EvaluatedBy {
  model: Pick<ModelIdentity, 'path' | 'vocabularySize'>;
  data: { textColumn?: string | undefined };
}

@Injectable()
export class ModelAndData {
  constructor(
    @Inject(EnginePool) private readonly engines: EnginePool,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(Libraries) private readonly libraries: Libraries,
  ) {}

  /**
   * Returns the model and settings of the run that a request would start, as far as they are known without reading the weights.
   * @param card if given, the plan is for the memory of this card, which the server need not have
   * @throws EspalierError with all that is wrong with the settings, or with the engine's code
   */
  async plan(modelPath: string, requested: RequestedSettings, card: Card | null = null): Promise<RunPlan> {
    const early = [...timeViolations(requested), ...settingsViolations(resolveSettings(requested))];
    if (early.length > 0) throw invalidRequest(early);
    const described = await this.describe(modelPath, requested);
    const { model, shape } = described;
    const withWidths = await this.libraries.withWidths(described.asked, shape, async () =>
      requestedBudgets(described.asked, shape, await readTable(described.asked, shape, this.artifacts)),
    );
    const asked = withTargetOfWidths(withWidths, shape);
    const read = await readTable(asked, shape, this.artifacts);
    const [budget = null] = requestedBudgets(asked, shape, read);
    // A digest that was cut short is recorded whole.
    const table = read === null || namesTableFile(asked.speedTable ?? '') ? {} : { speedTable: read.digest };
    const settings = resolveSettings({ ...asked, ...table }, model, budget);
    const violations = [...settingsViolations(settings, model), ...groupViolations(settings, shape)];
    if (violations.length > 0) throw invalidRequest(violations);
    const run = { model, budget: budget ?? undefined };
    const planned = (tried: RunSettings): Promise<PlaceForRun> => this.place({ ...run, settings: tried }, card);
    const place = await planned(settings);
    const following = settings.time === 0 ? {} : { following: followingSteps(requested) };
    const about = { model, settings, ...following, budget, speedTable: read && read.bytes, shape, ...place };
    if (fits(place.memory)) return { ...about, change: null };
    const found = await fittingSettings(settings, place.memory.hostBytes > 0n, async (tried) => (await planned(tried)).memory);
    return { ...about, change: found && { settings: found.settings, totalBytes: found.plan.totalBytes } };
  }

  /**
   * Returns the plan of a fork, which has its settings and its model already. A fork can't change the settings of `fittingSettings`, so
   * none are proposed where it does not fit.
   */
  async planOf(fork: PruningRunState, card: Card | null = null): Promise<RunPlan> {
    const { model, settings, budget = null } = fork;
    const { shape } = await this.describe(model.path, settings);
    return { model, settings, budget, speedTable: null, shape, change: null, ...(await this.place(fork, card)) };
  }

  /**
   * The choices of a library for shares of its model's parameters.
   * @returns `predicted` too, which gives what the library predicts for the layer_widths of a run
   */
  async frontier(library: PruningRunState, query: FrontierQuery) {
    const { shape } = await this.describe(library.model.path, library.settings);
    const points = await this.libraries.frontier(library, shape, query);
    const predicted = (layerWidths: string): number | null => this.libraries.predicted(library, shape, { layerWidths });
    return { points, intactParameters: library.model.parameterCount, predicted };
  }

  private async place(run: RunToFit, card: Card | null): Promise<PlaceForRun> {
    const place = await this.engines.forNewRun(run);
    return { ...place, memory: card === null ? place.memory : memoryOnCard(place.memory, run.model, run.settings, card) };
  }

  /** Describes the model, and returns the request with the settings that follow from its kind. */
  private async describe(
    modelPath: string,
    requested: RequestedSettings,
  ): Promise<{ model: ModelIdentity; shape: ModelShape; asked: RequestedSettings }> {
    const path = resolve(modelPath);
    const described = await this.ask((engine) => engine.inspectModel(path, { skipWeights: true }));
    await requireTokenizer(path);
    const shape = modelShape(described);
    const asked = withGroupGates(requested, shape);
    const settings = resolveSettings(asked);
    const violations = typeViolations(settings, shape, prunesAtOnce(settings.recipe));
    if (violations.length > 0) throw invalidRequest(violations);
    const header = typeInBlocks(settings) === null ? 0 : await ggufHeaderBytes(path, shape.vocabularySize, shape.layers);
    return { model: modelIdentity(path, described, settings), shape: { ...shape, ggufHeaderBytes: header }, asked };
  }

  /**
   * Looks for mistakes of a launch before the table of its target in seconds is measured.
   * @param source null: a plan has none
   * @throws EspalierError as the launch would
   */
  async requireLaunchable(modelPath: string, requested: RequestedSettings, source: DataSource | null, signal: AbortSignal): Promise<void> {
    const withTable = { ...requested, speedTable: TABLE_TO_COME };
    const early = [...timeViolations(requested), ...settingsViolations(resolveSettings(withTable))];
    if (early.length > 0) throw invalidRequest(early);
    const { model, shape, asked } = await this.describe(modelPath, withTable);
    const settings = resolveSettings(asked, model);
    const violations = [...settingsViolations(settings, model), ...groupViolations(settings, shape)];
    if (violations.length > 0) throw invalidRequest(violations);
    if (source !== null) await this.namedData(source, { model, settings }, signal);
  }

  private ask<T>(question: (engine: EngineApi) => Promise<T>): Promise<T> {
    return this.engines.question(question);
  }

  /**
   * Returns the data as the request names it. Mistakes that are cheap to find are refused here: missing files, and texts that begin wrong.
   * @param parent the data of a fork's parent, whose validation text is kept where the source names none
   */
  async namedData(
    source: DataSource,
    { model, settings, parent }: { model: ModelIdentity; settings: RunSettings; parent?: DataIdentity },
    signal: AbortSignal,
  ): Promise<DataIdentity> {
    if (source.responseOnly === true && !learnsFromText(settings))
      throw invalidField(
        'REQUEST_INVALID',
        'data.response_only',
        'is set, but no step learns by cross-entropy: recipe lm does, and recover_steps with recover_lm_loss_weight',
      );
    const named = namedData(source, parent);
    const validation = named.validationDigest === null ? validationText(named) : null; // the parent's tokens were read before
    const trained = trainTexts(named).map((one) => one.text);
    for (const text of [...trained, ...(validation === null ? [] : [validation])]) {
      const bytes = await requireSources({ modelPath: model.path, text, signal });
      await requireGoodStart({ modelPath: model.path, text, signal });
      requireEnoughBytes(text, bytes, text === validation ? windowNeed(settings) : trainingNeed(settings, trained.length));
    }
    return named;
  }

  /** Reads the text, and the model unless a fork has it from its parent. */
  async prepare(run: PruningRunState, onProgress: (progress: PreparationProgress) => void, signal: AbortSignal): Promise<Prepared> {
    let { model } = run;
    if (model.weightsDigest === '') {
      onProgress({ doing: "reading the model's weights", doneShare: 0 });
      const { path } = model;
      const described = await this.ask((engine) =>
        engine.onceBack(() => engine.inspectModel(path, { skipWeights: false, signal }), signal),
      );
      model = modelIdentity(path, described, run.settings);
      requireSameShape(run.model, model);
    }
    const data = await this.prepareData(run, model, onProgress, signal);
    const expected = run.data.tokenizerDigest;
    if (expected !== '' && data.tokenizerDigest !== expected) {
      const parent = run.origin?.parentRunId ?? '';
      throw invalidField('TOKENIZER_MISMATCH', 'overrides.data', `the model's tokenizer has changed since run ${parent} was launched`);
    }
    return { model, data };
  }

  /** Tokenizes the texts that have not been tokenized before. */
  private async prepareData(
    { data, settings }: PruningRunState,
    model: ModelIdentity,
    onProgress: (progress: PreparationProgress) => void,
    signal: AbortSignal,
  ): Promise<DataIdentity> {
    const named = { modelPath: model.path, vocabularySize: model.vocabularySize, store: this.artifacts, signal };
    const kept = data.validationDigest === null ? null : { digest: data.validationDigest, tokenCount: data.validationTokens };
    const validationSource = kept === null ? validationText(data) : null;
    const trainSources = trainTexts(data);
    const bytes: number[] = [];
    for (const text of [...trainSources.map((one) => one.text), ...(validationSource === null ? [] : [validationSource])])
      bytes.push(await requireSources({ modelPath: model.path, text, signal }));
    const words = new TokenizingWords(bytes, onProgress);
    const sources: TokenSource[] = [];
    let tokenizerDigest = '';
    for (const { parts, text } of trainSources) {
      const {
        paths: [path = ''],
        fields: [field = 'data.train_path'] = [],
      } = text;
      const what = trainSources.length === 1 ? 'the training text' : path;
      const made = await prepareTokenShards({ ...named, text, onProgress: words.next(what) });
      requireTokens(made.tokenCount, field, trainingNeed(settings, trainSources.length));
      sources.push({ parts, shards: made.shards.map(({ digest, tokenCount }) => ({ digest, tokens: tokenCount })) });
      ({ tokenizerDigest } = made);
    }
    const { trainTokens } = trainingTokens(sources);
    if (settings.recipe === 'scan' && sources.length > 1) requireTokens(trainTokens, 'data.train_path', scanNeed(settings));
    const validation =
      validationSource === null
        ? kept
        : await prepareTokens({ ...named, text: validationSource, onProgress: words.next('the validation text') });
    if (validation !== null) requireTokens(validation.tokenCount, 'data.validation_path', windowNeed(settings));
    return {
      ...data,
      ...trainingTokens(sources),
      validationDigest: validation?.digest ?? null,
      validationTokens: validation?.tokenCount ?? 0,
      tokenizerDigest,
    };
  }

  /** Makes the same artifacts again from their text. @throws `damage`, with the reason why they can't be made again */
  async remakeTokens(
    { runId, model, data }: PruningRunState,
    part: 'train' | 'validation',
    { damage, damaged }: { damage: EspalierError; damaged: string[] },
    signal: AbortSignal,
  ): Promise<void> {
    const texts = part === 'train' ? trainTexts(data).map((one) => one.text) : [validationText(data)!];
    const paths = texts.flatMap((text) => text.paths).join(', ');
    const lost = (why: string): EspalierError =>
      new EspalierError(
        damage.code,
        `the ${part} tokens of run ${runId} are damaged (${damage.message}) and can't be made again from ${paths}: ${why}`,
      );
    for (const digest of damaged) await this.artifacts.delete(digest); // so that a remembered artifact is not taken for whole
    const about = { modelPath: model.path, vocabularySize: model.vocabularySize, store: this.artifacts, signal };
    const made = new Set<string>();
    for (const text of texts) {
      const { shards } = await prepareTokenShards({ ...about, text }, part === 'train' ? SHARD_TOKENS : Infinity).catch(
        (error: unknown) => {
          throw lost(toEspalierError(error).message);
        },
      );
      for (const { digest } of shards) made.add(digest);
    }
    const missing = damaged.find((digest) => !made.has(digest));
    if (missing !== undefined) throw lost(`they give tokens ${[...made].join(', ')} now, not ${missing}`);
  }

  /** Makes the tokens of other data for one evaluation. @param textColumn the column to read, or '' for the run's own */
  async prepareEvaluationData(
    path: string,
    textColumn: string,
    { model, data }: EvaluatedBy,
    window: number,
    signal: AbortSignal,
  ): Promise<{ digest: string; tokenCount: number }> {
    const column = textColumn === '' ? data.textColumn : textColumn;
    const tokens = await prepareTokens({
      modelPath: model.path,
      text: { paths: [resolve(path)], fields: ['data_path'], ...(column === undefined ? {} : { textColumn: column }) },
      vocabularySize: model.vocabularySize,
      store: this.artifacts,
      signal,
    });
    requireTokens(tokens.tokenCount, 'data_path', { what: 'a window', needed: window });
    return tokens;
  }
}

/** Refuses a model whose shape differs from the one that the settings were checked with. */
function requireSameShape(launched: ModelIdentity, read: ModelIdentity): void {
  if (canonicalJson({ ...launched, weightsDigest: '' }) === canonicalJson({ ...read, weightsDigest: '' })) return;
  throw invalidField('MODEL_CHANGED', 'model_path', `the model in ${launched.path} has changed since the run was launched`);
}

/** @param texts the number of training texts, of which each gives whole sequences where there are several */
function trainingNeed(settings: RunSettings, texts: number): TokenNeed {
  const { recipe, batchSize, sequenceLength } = settings;
  if (texts > 1) return { what: 'a sequence (sequence_length)', needed: sequenceLength };
  if (recipe === 'scan') return scanNeed(settings);
  return { what: 'a batch (batch_size times sequence_length)', needed: batchSize * sequenceLength };
}

/** A scan would score a form by sequences that the form was fitted on, if these sequences were not all different. */
const scanNeed = ({ calibrationSequences, scanSequences, sequenceLength }: RunSettings): TokenNeed => ({
  what: 'a scan (calibration_sequences and scan_sequences, times sequence_length)',
  needed: (calibrationSequences + scanSequences) * sequenceLength,
});

const windowNeed = ({ evaluationWindow }: RunSettings): TokenNeed => ({
  what: 'a window (evaluation_window)',
  needed: evaluationWindow,
});

/** Names the tokens of a run: a single artifact by its own digest, several by the digest of their list. */
function trainingTokens(sources: TokenSource[]): Pick<DataIdentity, 'trainDigest' | 'trainTokens' | 'trainSources'> {
  const shards = sources.flatMap((source) => source.shards);
  const trainTokens = shards.reduce((sum, { tokens }) => sum + tokens, 0);
  const [only, ...others] = shards;
  if (only !== undefined && others.length === 0) return { trainDigest: only.digest, trainTokens };
  return { trainDigest: sha256Hex(canonicalJson(sources)), trainTokens, trainSources: sources };
}

function requireTokens(count: number, field: string, { what, needed }: TokenNeed): void {
  if (count < needed) throw invalidField('DATA_TOO_SHORT', field, `holds ${count} tokens; ${what} takes ${needed}`);
}

/**
 * Returns one budget at most, or several where a library chooses the widths.
 * @throws EspalierError with what is possible, where a budget can't be kept
 */
function requestedBudgets(requested: RequestedSettings, shape: ModelShape, measured: ReadTable | null): Budget[] {
  const settings = resolveSettings(requested);
  const budgets = budgetsOf(settings, shape, measured);
  const beside = choosesWidths(settings) ? undefined : requested.targetSparsity;
  const violations = budgets.flatMap((budget) => amountViolations(budget, requested, beside));
  if (violations.length > 0) throw invalidRequest(violations);
  return budgets;
}

/**
 * Returns the request with the target that its widths of layers stand for.
 * @throws EspalierError where the model can't have the widths, or where the request names another target too
 */
function withTargetOfWidths(asked: RequestedSettings, shape: ModelShape): RequestedSettings {
  const settings = resolveSettings(asked);
  const kept = keptByLayer(settings);
  if (kept === null) return asked;
  const violations = widthsOfModelViolations(kept, shape);
  if (violations.length > 0) throw invalidRequest(violations);
  const targetSparsity = sparsityOfWidths(kept, shape, settings);
  requireNoTarget(asked.targetSparsity, targetSparsity);
  return { ...asked, targetSparsity };
}
