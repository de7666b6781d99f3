// For tests: tells a run as facts, and decides changes on it. The model and the settings are small and complete.
import { encodeFacts } from './record/stored-event.js';
import type {
  DataIdentity,
  MadeExport,
  ModelIdentity,
  NewFact,
  PruningRunEventType,
  RunSettings,
  StateFact,
} from './record/pruning-run.events.js';
import { decide, fold, type PruningRunState } from './aggregate/pruning-run.js';
import type { RecordSegment } from './aggregate/engine-decisions.js';
import type { RunChange } from './aggregate/pruning-run.decisions.js';
import type { ModelShape, TensorCount } from './method/model-cost.js';
import { resolveSettings, type RequestedSettings } from './method/run-settings.js';

export const AT = '2026-01-02T03:04:05.678Z';
const digest = (text: string): string => Buffer.from(text.padEnd(32, '.')).toString('hex').slice(0, 64);

type Dimensions = Omit<ModelShape, 'tensors' | 'architecture' | 'ggufHeaderBytes'>;

/** The shape of a LLaMA whose numbers have two bytes. `more`: other tensors than a LLaMA has. */
export function llamaShape(dimensions: Dimensions, tiedEmbeddings: boolean, more: ModelShape['tensors'] = []): ModelShape {
  const { layers, heads, kvHeads, units, hiddenSize, headDim, vocabularySize } = dimensions;
  const count = (kind: TensorCount['kind'], part: TensorCount['part'], rows: number): TensorCount => ({
    kind,
    part,
    parameters: rows * hiddenSize,
    bytes: 2 * rows * hiddenSize,
  });
  const tensors = [
    ...(tiedEmbeddings ? [] : [count('embedding', 'rest', vocabularySize)]),
    count('lm_head', 'rest', vocabularySize),
    count('projection', 'head', layers * heads * headDim),
    count('projection', 'kv', layers * kvHeads * headDim),
    count('value', 'kv', layers * kvHeads * headDim),
    count('output', 'head', layers * heads * headDim),
    count('projection', 'unit', layers * 2 * units),
    count('down', 'unit', layers * units),
    count('norm', 'rest', 2 * layers + 1),
    ...more,
  ];
  return { ...dimensions, tensors, architecture: 'LlamaForCausalLM', ggufHeaderBytes: 0 };
}

/** The shape of testdata/models/gqa-random-tiny, which has grouped queries and tied embeddings. */
export const groupedShape = llamaShape(
  { layers: 3, heads: 8, kvHeads: 2, units: 160, hiddenSize: 64, headDim: 8, vocabularySize: 2048 },
  true,
);

export const model: ModelIdentity = {
  path: '/models/tiny',
  weightsDigest: digest('weights'),
  architecture: 'LlamaForCausalLM',
  parameterCount: 254_400,
  prunableParameterCount: 120_000,
  weightBytes: 508_800,
  hiddenSize: 64,
  layers: [
    { heads: 8, units: 160 },
    { heads: 8, units: 160 },
    { heads: 8, units: 160 },
  ],
  vocabularySize: 2048,
  maxPositions: 512,
};
export const data: DataIdentity = {
  trainPath: '/data/train.jsonl',
  trainDigest: digest('train'),
  trainTokens: 100_000,
  validationPath: '/data/validation.jsonl',
  validationDigest: digest('validation'),
  validationTokens: 10_000,
  tokenizerDigest: digest('tokenizer'),
};

export function stateAt(step: number, expectedSparsity: number, branch = ''): StateFact {
  return {
    step,
    stateDigest: digest(`state ${step}${branch}`),
    stateBytes: 1000,
    masksDigest: digest(`masks ${step}`),
    expectedSparsity,
    hardSparsity: expectedSparsity,
    headsOpen: [8, 8, 8],
    unitsOpen: [160, 160, 160],
    hiddenOpen: 64,
    size: { parameterCount: 100_000, multiplications: 90_000, bytes: 200_000 },
  };
}

/** The sparsities of a run that ends on its target. */
export const sparsities = (sparsity: number) => ({ hardSparsity: sparsity, expectedSparsity: sparsity, targetSparsity: sparsity });

export function launched(requested: RequestedSettings = {}, runId = 'aaaabbbbcccc'): NewFact {
  const settings: RunSettings = resolveSettings(
    { preset: 'short', totalSteps: 100, segmentSteps: 10, evaluationTokens: 0, ...requested },
    model,
  );
  return fact('RunLaunched', { runId, name: 'tiny', requestId: 'r1', requestDigest: digest('request'), model, data, settings });
}

export function fact<T extends PruningRunEventType>(type: T, content: Extract<NewFact, { type: T }>['data']): NewFact {
  return { type, at: AT, data: content } as NewFact;
}

export const engine = {
  engineVersion: '1',
  engineBuild: 'test',
  backend: 'cpu',
  device: 'processor',
  threads: 2,
  numericsFingerprint: 'f1',
  leaseMs: 10_000,
  engineName: 'local-1',
};

/** The form of a masked export. */
export const masked: MadeExport = {
  format: 'masked',
  multipleOf: 1,
  architecture: 'LlamaForCausalLM',
  contextLength: 512,
  hiddenSize: 64,
  tensorBytes: 1000,
  layers: [],
  notes: [],
};

export function segment(firstStep: number, state: StateFact, attempt = 1, skippedSteps: number[] = []): RecordSegment {
  const mean = skippedSteps.length === state.step - firstStep ? null : 1;
  return {
    kind: 'recordSegment',
    attempt,
    firstStep,
    state,
    scheduledSparsity: 0.1,
    skippedSteps,
    trainingSeconds: 1,
    tokens: 100,
    loss: { mean, last: mean },
    metricsRevision: 0,
    metricsDigest: digest('metrics'),
    openDigest: digest('gates'),
    scans: [],
  };
}

/** A run that grows by changes, each decided on the result of the ones before. */
export class Story {
  readonly facts: NewFact[] = [];

  constructor(...facts: NewFact[]) {
    this.facts.push(...facts);
  }

  get state(): PruningRunState {
    const { events } = encodeFacts(this.facts, '', () => '');
    return fold(events)!;
  }

  /** Decides the change, adds its facts to the story and returns them. */
  when(change: RunChange): NewFact[] {
    const added = decide(this.facts.length === 0 ? null : this.state, change, AT);
    this.facts.push(...added);
    return added;
  }

  start(attempt = 1, numericsFingerprint = 'f1'): this {
    this.when({ kind: 'startAttempt', attempt });
    const stateDigest = this.state.current?.stateDigest ?? digest('fresh');
    this.when({ kind: 'attachEngine', attempt, engine: { ...engine, numericsFingerprint }, stateDigest });
    return this;
  }

  train(...states: StateFact[]): this {
    for (const state of states) this.when(segment(this.state.current?.step ?? 0, state, this.state.attempt));
    return this;
  }
}

export const typesOf = (facts: NewFact[]): string[] => facts.map((one) => one.type);
