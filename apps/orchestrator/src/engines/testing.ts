// For tests: an engine that follows a script, at once and without a process. It records its calls.
import { createHash } from 'node:crypto';
import { EspalierError, engineV1 } from '#protocol';
import type { EngineApi, TrainingProgress } from './wire/engine-client.js';
import type { EngineConnector, EngineLink } from './engine-link.js';
import type { LiveEngine } from './engine-supervisor.js';
import type { ProcessorUse } from '#files';

const FINGERPRINT = 'numerics of the script';
const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

const TEACHERS_KEPT = 8;

/** The gates of the model of pruning-run/testing.ts. No head or unit is ever closed. */
export const ALL_OPEN = Buffer.alloc((3 * (8 + 160) + 64) / 8, 0xff);

/** The digest of a scripted engine's state after `step` steps, the same for all runs. */
export const scriptedState = (step: number): string => digestOf(`state at ${step}`);

export class ScriptedEngine {
  /** The calls in order, such as "openSession" and "train from 0". */
  readonly asked: string[] = [];
  fingerprint = FINGERPRINT;
  backend = 'cpu';
  bootId = 'this machine';
  neededBytes = 1_000n;
  availableBytes = 10_000n;
  /** Called before each step is reported. It may throw, wait, or call other methods. */
  beforeStep: (step: number) => Promise<void> | void = () => undefined;
  /** The errors that methods fail with, each once. */
  readonly failures = new Map<keyof EngineApi, Error>();
  private sessions = 0;
  private teachers: string[] = [];
  private stopAt: 'step' | 'segment' | null = null;

  readonly client: EngineApi = {
    address: 'script',
    heardAtMs: -Infinity,
    onceBack: (work) => work(),
    checkHealth: () => this.note('checkHealth', undefined),
    describe: () => this.note('describe', this.about),
    claim: () => this.note('claim', undefined),
    release: () => this.note('release', undefined),
    inspectModel: () => this.note('inspectModel', engineV1.ModelDescription.fromPartial({})),
    measureSpeedTable: () => this.note('measureSpeedTable', engineV1.MeasureSpeedTableResponse.fromPartial({})),
    planMemory: () => this.note('planMemory', this.memory),
    describeState: () => Promise.reject(new Error('not in the script')),
    openSession: () => {
      this.sessions += 1;
      const session = {
        sessionId: `session ${this.sessions}`,
        numericsFingerprint: this.fingerprint,
        memory: this.memory,
        teachersKept: TEACHERS_KEPT,
      };
      return this.note('openSession', engineV1.OpenSessionResponse.fromPartial(session));
    },
    closeSession: () => this.note('closeSession', undefined),
    loadTrainingTokens: () => this.note('loadTrainingTokens', undefined),
    initialiseState: () => this.note('initialiseState', this.state(0, 0)),
    importState: (_session, digest) => this.note('importState', engineV1.StateSummary.fromPartial({ digest })),
    loadTeacher: (_session, digest) => {
      this.teachers = [digest, ...this.teachers].slice(0, TEACHERS_KEPT);
      return this.note('loadTeacher', this.teachers);
    },
    train: (request, signal) => this.train(request, signal),
    putState: () => Promise.reject(new Error('not in the script')),
    heldState: () => {
      throw new Error('not in the script');
    },
    releaseState: () => this.note('releaseState', undefined),
    trainSegment: () => Promise.reject(new Error('not in the script')),
    stopTraining: (_session, finishSegment) => {
      if (this.stopAt !== 'step') this.stopAt = finishSegment === true ? 'segment' : 'step';
      return this.note('stopTraining', undefined);
    },
    setReportInterval: () => Promise.resolve(),
    generate: () => {
      throw new Error('not in the script');
    },
    measureSpeed: () => {
      throw new Error('not in the script');
    },
    evaluate: async (_request, tokens, onProgress) => {
      for await (const _ of tokens); // reads all tokens
      onProgress(0.5);
      return this.note('evaluate', {
        perplexity: 20,
        negativeLogLikelihood: 3,
        predictions: 100n,
        seconds: 1,
        zeroShare: 0,
      });
    },
    async *score(_request, batches, onProgress) {
      for await (const { lengths } of batches) {
        onProgress(0.5);
        yield { logLikelihoods: lengths.map(() => -1), greedy: lengths.map(() => false) };
      }
    },
    exportModel: () => {
      throw new Error('not in the script');
    },
    close: () => undefined,
  };

  get about(): engineV1.DescribeEngineResponse {
    return engineV1.DescribeEngineResponse.fromPartial({
      engineVersion: '1',
      build: 'script',
      backend: this.backend,
      device: 'a script',
      threads: 2,
      bootId: this.bootId,
      pid: 7,
    });
  }

  private get memory(): engineV1.PlanMemoryResponse {
    const { neededBytes: totalBytes, availableBytes, fingerprint: numericsFingerprint } = this;
    return engineV1.PlanMemoryResponse.fromPartial({ totalBytes, availableBytes, numericsFingerprint });
  }

  private async note<T>(method: keyof EngineApi, answer: T): Promise<T> {
    this.asked.push(method);
    await Promise.resolve();
    const failure = this.failures.get(method);
    this.failures.delete(method);
    if (failure !== undefined) throw failure;
    return answer;
  }

  /** The true summaries of the states that the engine made, by their digests. */
  readonly states = new Map<string, engineV1.StateSummary>();
  /** Changes the outcome of a segment before it is reported, as a hostile engine does. */
  alterOutcome: (outcome: engineV1.SegmentOutcome) => void = () => undefined;

  private state(step: number, expectedSparsity: number): engineV1.StateSummary {
    const open = Array.from({ length: 3 }, () => ({ heads: 8n, kvHeads: 0n, intermediate: 160n }));
    const digest = scriptedState(step);
    const sparsity = { expectedSparsity, hardSparsity: expectedSparsity };
    const size = { parameterCount: 200_000n, multiplications: 180_000n, bytes: 400_000n };
    const state = { step: BigInt(step), digest, ...sparsity, open, hiddenOpen: 64n, masksDigest: digest, size, openUnits: ALL_OPEN };
    this.states.set(digest, state);
    return structuredClone(state);
  }

  private async *train(request: engineV1.TrainRequest, signal: AbortSignal): AsyncGenerator<TrainingProgress> {
    const first = Number(request.firstStep);
    this.asked.push(`train from ${first}`);
    this.stopAt = null;
    this.teachers = [];
    const endStep = first + request.loraLearningRate.length;
    let marks = request.marks;
    let begin = first;
    let segments = 0;
    const masks = { openUnitsBefore: ALL_OPEN };
    for (let step = first; step < endStep; step += 1) {
      await this.beforeStep(step);
      signal.throwIfAborted();
      const expectedSparsity = request.scheduledSparsity[step - first]!;
      const report = {
        step: BigInt(step),
        loss: 1,
        layerLoss: 1,
        klLoss: 1,
        scheduledSparsity: expectedSparsity,
        expectedSparsity,
        seconds: 0.1,
      };
      yield { kind: 'steps', steps: [engineV1.StepReport.fromPartial(report)] };
      const reached = marks.filter((mark) => expectedSparsity >= mark.expectedSparsity);
      marks = marks.slice(reached.length);
      const isEnd = step + 1 === endStep || step + 1 - begin === request.segmentSteps || reached.length > 0 || this.stopAt === 'step';
      if (!isEnd) continue;
      const stepsDone = BigInt(step + 1 - begin);
      const state = this.state(step + 1, expectedSparsity);
      begin = step + 1;
      segments += 1;
      const outcome = {
        state,
        stepsDone,
        stateBytes: 8n,
        stateFile: '',
        seconds: 1,
        ...masks,
        refit: undefined,
        scans: [],
        partSums: [],
        slices: [],
      };
      this.alterOutcome(outcome);
      yield { kind: 'segment', segment: { outcome, state: Buffer.from(`state at ${step + 1}`) } };
      const last = reached.at(-1);
      const isUnknown = last !== undefined && last.teacherDigest === undefined && last.teacherMark === undefined;
      if (this.stopAt !== null || isUnknown || segments === request.maxSegments) break;
    }
    yield { kind: 'end', end: { stopped: this.stopAt !== null, teacherDigests: [] } };
  }
}

/** A scripted engine as a supervisor would hand it out. */
export function liveEngine(engine = new ScriptedEngine()): LiveEngine & { end(reason: EspalierError): void } {
  const lost = new AbortController();
  const end = (reason: EspalierError): void => lost.abort(reason);
  const { client, about } = engine;
  return { client, about, sharesFiles: false, lost: lost.signal, giveUp: end, end, processorUse: () => null, isAwaited: () => false };
}

/** Connects to scripted engines. Each try takes the next answer, and all further tries take the last one. */
export class ScriptedConnector implements EngineConnector {
  tries = 0;
  /** Ends the link that is up, as if its process died. */
  die: (reason: string) => void = () => undefined;
  readonly ended: string[] = [];
  /** The error of the next health checks, or null where they are answered. */
  sick: Error | null = null;
  /** Whether an engine that is silent is cut off, and awaited by its lease. */
  awaits = false;
  private isAwaited = false;
  /** The use of the processors by the engine's process. */
  use: () => ProcessorUse | null = () => null;

  constructor(
    private readonly answers: (ScriptedEngine | Error)[],
    readonly isNamed = false,
  ) {}

  async connect(): Promise<EngineLink> {
    const answer = this.answers[Math.min(this.tries, this.answers.length - 1)]!;
    this.tries += 1;
    await Promise.resolve();
    if (answer instanceof Error) throw answer;
    const gone = new Promise<string>((resolve) => {
      this.die = resolve;
    });
    return {
      client: answer.client,
      about: answer.about,
      sharesFiles: !this.isNamed,
      gone,
      processorUse: () => this.use(),
      isAwaited: () => this.isAwaited,
      awaitSilent: () => (this.isAwaited = this.awaits),
      checkHealth: () => (this.sick === null ? Promise.resolve() : Promise.reject(this.sick)),
      cut: () => void this.ended.push('cut'),
      end: () => Promise.resolve(void this.ended.push('ended in good order')),
    };
  }

  look(): Promise<null> {
    return Promise.resolve(null);
  }

  visit(): null {
    return null;
  }
}
