// Computes recorded segments again and compares the states that they end with.
import type { ArtifactStore } from '#artifact-store';
import { numericsDifference } from '#comparison';
import { PassingState } from '#files';
import { counted, EspalierError, type engineV1 } from '#protocol';
import type { BorrowedEngine, BorrowEngines } from '../../engine-pool/verification-engine.js';
import type { Budget, DataIdentity, ModelIdentity } from '../../pruning-run/record/pruning-run.events.js';
import type { StepMeasurement } from '../../pruning-run/record/steps-measured.js';
import { initialStateRequest, openingMs, trainRequest, sessionOptions } from '../../engines/wire/engine-requests.js';
import type { EngineApi, EndedSegment, TrainedSegment } from '../../engines/wire/engine-client.js';
import { partsOf, type ReplaySegment } from './replay-plan.js';
import { required } from '../../engines/wire/received-answers.js';
import { stateDifferences, type TensorDifference } from './state-difference.js';
import { firstDifference, firstScanDifference, type StepDifference } from './step-difference.js';
import { tokenSources } from '../../pruning-run/record/training-tokens.js';

export interface ReplayInput {
  borrowEngines: BorrowEngines;
  artifacts: ArtifactStore;
  model: ModelIdentity;
  /** Undefined where the target is a sparsity. */
  budget?: Budget | undefined;
  data: DataIdentity;
  /** The segments in order. Each starts where the one before ended, or from a state that is still stored. */
  segments: ReplaySegment[];
  /** The allowed relative difference, or null for the same numerics, where not a bit may differ. */
  tolerance: number | null;
  recordedSteps(segment: ReplaySegment): StepMeasurement[];
  signal: AbortSignal;
}

export interface SegmentVerdict {
  segment: ReplaySegment;
  ok: boolean;
  detail: string;
  stepDifference: StepDifference | null;
  tensorDifferences: TensorDifference[];
  /** The fingerprint of the engine that repeats the segment. Equal fingerprints give equal bits. */
  numericsFingerprint: string;
  /** The engine that repeats the segment. */
  engine: ReplayEngine;
}

interface ReplayEngine extends Pick<BorrowedEngine, 'name' | 'isOther'> {
  /** Such as "cpu" or "cuda:0". */
  device: string;
}

interface Outcome {
  outcome: TrainedSegment;
  /** null: the state is in slices, which the engine holds. */
  state: Uint8Array | null;
  reports: engineV1.StepReport[];
}

/** Ends after the first segment that fails, since later segments build on it. */
export async function* replaySegments(input: ReplayInput): AsyncGenerator<SegmentVerdict> {
  let carried: HeldState | null = null;
  for (const segments of sessionsOf(input.segments)) {
    const engines = input.borrowEngines(segments[0], input.signal);
    try {
      const replay: Replay = new Replay(input, await sessionOnOneOf(engines, input, segments[0]), carried);
      try {
        for (const segment of segments) {
          input.signal.throwIfAborted();
          const verdict = await replay.replay(segment);
          yield verdict;
          if (!verdict.ok) return;
        }
        carried = replay.last;
      } finally {
        await replay.close();
      }
    } finally {
      await engines.return();
    }
  }
}

/**
 * Groups neighbouring segments that one session can compute: those that one engine computed with the same numerics and threads. Equal
 * numerics come from one device.
 */
function sessionsOf(segments: ReplaySegment[]): [ReplaySegment, ...ReplaySegment[]][] {
  const groups: [ReplaySegment, ...ReplaySegment[]][] = [];
  for (const segment of segments) {
    const group = groups.at(-1);
    const before = group?.at(-1);
    const names = ['numericsFingerprint', 'threads', 'engineName'] as const;
    if (group !== undefined && names.every((name) => before?.[name] === segment[name])) group.push(segment);
    else groups.push([segment]);
  }
  return groups;
}

interface HeldState {
  digest: string;
  /** null: it is in slices, which went with the engine. */
  bytes: Uint8Array | null;
}

interface ReplaySession {
  client: EngineApi;
  engine: ReplayEngine;
  sessionId: string;
  /** The fingerprint of the engine. Equal fingerprints give equal bits. */
  numericsFingerprint: string;
}

/** Opens a session on the first engine that has the numerics of the segment and works, or else on the last one. */
async function sessionOnOneOf(
  engines: AsyncGenerator<BorrowedEngine, void>,
  input: ReplayInput,
  segment: ReplaySegment,
): Promise<ReplaySession> {
  let refusal: unknown = new EspalierError('ENGINE_BUSY', 'no engine is free any more; replay when one is');
  for (;;) {
    const { value: engine } = await engines.next();
    if (!engine) throw refusal;
    try {
      return await openSession(engine.isLast ? input : { ...input, tolerance: null }, engine, segment);
    } catch (error) {
      refusal = error;
      if (engine.isLast || input.signal.aborted) throw error;
    }
  }
}

async function openSession(
  { model, tolerance, data, artifacts }: ReplayInput,
  { client, name, isOther }: BorrowedEngine,
  segment: ReplaySegment,
): Promise<ReplaySession> {
  const { settings } = segment;
  const session = await client.openSession(sessionOptions({ settings, model }, segment.threads), 'verification', openingMs(model));
  if (session.numericsFingerprint !== segment.numericsFingerprint && tolerance === null) {
    await client.closeSession(session.sessionId).catch(() => undefined);
    throw new EspalierError(
      'NUMERICS_CHANGED',
      `steps ${segment.firstStep} to ${segment.endStep - 1} were computed on other numerics than this engine has: ` +
        `${numericsDifference(segment.numericsFingerprint, session.numericsFingerprint)}. So bits can't be compared, but values can: ` +
        'with --tolerance of espalier verify (tolerance of VerifyRun), such as 1e-3',
    );
  }
  await client.loadTrainingTokens(session.sessionId, tokenSources(data), artifacts);
  const { backend: device } = await client.describe();
  return { client, engine: { name, isOther, device }, ...session };
}

/** The state is the recorded one. So a measurement that differs is a mistake of the record, not of the computation. */
function reachedAgain(
  verdict: Omit<SegmentVerdict, 'ok' | 'detail'>,
  stepDifference: StepDifference | null,
  start: string,
): SegmentVerdict {
  const reached = `${start}, state ${verdict.segment.endDigest} reached again, bit for bit`;
  if (stepDifference === null) return { ...verdict, ok: true, detail: reached };
  const { step, quantity, recorded, computed } = stepDifference;
  const difference = `but ${quantity} of step ${step} was recorded as ${recorded}, computed as ${computed}`;
  return { ...verdict, stepDifference, ok: false, detail: `${reached}, ${difference}` };
}

class Replay {
  /** The state that the last segment ended with in this replay. */
  last: HeldState | null = null;
  /** The digest of the state that the engine holds, or null for none. */
  private held: string | null = null;
  /** The digests of the teachers in the engine's memory. */
  private teachers = new Set<string>();

  constructor(
    private readonly input: ReplayInput,
    private readonly session: ReplaySession,
    private readonly carried: HeldState | null,
  ) {}

  async close(): Promise<void> {
    const { client, sessionId } = this.session;
    await client.closeSession(sessionId).catch(() => undefined); // the engine may be gone, and ends with this process anyway
  }

  async replay(segment: ReplaySegment): Promise<SegmentVerdict> {
    const start = await this.takeUp(segment);
    const outcome = await this.execute(segment);
    this.held = outcome.outcome.state.digest;
    this.last = { digest: this.held, bytes: outcome.state };
    try {
      return await this.judged(segment, start, outcome);
    } finally {
      if (outcome.state === null) await this.session.client.releaseState(this.held).catch(() => undefined); // a lost engine holds nothing
    }
  }

  private async judged(segment: ReplaySegment, start: string, outcome: Outcome): Promise<SegmentVerdict> {
    const steps = this.input.recordedSteps(segment);
    const same = outcome.outcome.state.digest === segment.endDigest;
    const { numericsFingerprint, engine } = this.session;
    const verdict = { segment, numericsFingerprint, engine, stepDifference: null, tensorDifferences: [] };
    const tolerance = segment.numericsFingerprint === this.session.numericsFingerprint ? 0 : (this.input.tolerance ?? 0);
    if (same) {
      const difference = firstDifference(steps, outcome.reports, tolerance);
      return reachedAgain(verdict, difference ?? firstScanDifference(segment.scans, outcome.outcome.scans, tolerance), start);
    }
    return tolerance > 0 ? this.compareWithin(verdict, steps, outcome, tolerance, start) : this.narrow(verdict, steps, outcome, start);
  }

  /** Gives the engine the state that the segment starts from, unless the engine holds it. */
  private async takeUp({ startDigest, settings, firstStep }: ReplaySegment): Promise<string> {
    if (startDigest !== null && startDigest === this.held) return 'went on';
    const { artifacts } = this.input;
    const { client, sessionId } = this.session;
    if (startDigest === null) {
      this.held = (await client.initialiseState(initialStateRequest(sessionId, { settings, ...this.input }))).digest;
      return 'from the fresh state';
    }
    if ((await artifacts.stat(startDigest)) !== null) {
      await client.importState(sessionId, startDigest, { bytes: artifacts.open(startDigest) });
      this.held = startDigest;
      return `from the recorded state at step ${firstStep}`;
    }
    if (this.held === null) {
      const { carried } = this;
      if (carried?.bytes == null)
        throw new EspalierError('ARTIFACT_MISSING', `the state at step ${firstStep} is not in the artifact store`);
      await client.importState(sessionId, carried.digest, { bytes: piecesOf(carried.bytes) });
      this.held = carried.digest;
      if (carried.digest === startDigest) return 'went on';
    }
    return 'went on from its own state (the recorded one is no longer kept), so differences add up';
  }

  /** Uses one teacher after another, and loads each when its turn comes. So an engine with less memory than the run's can replay it. */
  private async execute(segment: ReplaySegment): Promise<Outcome> {
    const { artifacts, signal } = this.input;
    const { client, sessionId } = this.session;
    const reports: engineV1.StepReport[] = [];
    let result: EndedSegment | undefined;
    for (const part of partsOf(segment)) {
      const [{ teacher }] = part.stretches;
      if (teacher.kind === 'snapshot' && !this.teachers.has(teacher.stateDigest)) {
        await client.loadTeacher(sessionId, teacher.stateDigest, { bytes: artifacts.open(teacher.stateDigest) });
      }
      const trained = await client.trainSegment(trainRequest(sessionId, segment.settings, part, part.isLast ? 'return' : 'leave'), signal);
      for (const step of trained.steps) reports.push(step);
      this.teachers = new Set(trained.teacherDigests);
      result = trained;
    }
    const { outcome, state } = required(result, 'TrainResponse.segments');
    const named = outcome.state.digest;
    const whole = new PassingState(Number(outcome.slices[0]?.bytes ?? Infinity));
    for await (const chunk of state === null ? client.heldState(outcome) : piecesOf(state as Uint8Array)) whole.pass(chunk);
    if (whole.digest() !== named)
      throw new EspalierError('RESULT_CONTRADICTS_STATE', 'the engine sent a state with another digest than it named');
    return { outcome, state: state as Uint8Array | null, reports };
  }

  /**
   * Describes a difference under the same numerics: the first step that differs, whether the engine repeats its own result, and the size of
   * the difference.
   */
  private async narrow(
    verdict: Omit<SegmentVerdict, 'ok' | 'detail'>,
    steps: StepMeasurement[],
    outcome: Outcome,
    start: string,
  ): Promise<SegmentVerdict> {
    const { segment } = verdict;
    const stepDifference = firstDifference(steps, outcome.reports);
    const repeated = await this.again(segment);
    const repeatable =
      repeated === null
        ? ''
        : repeated === outcome.outcome.state.digest
          ? '; a second repetition gave the same as the first, so the engine is repeatable and the record differs'
          : '; a second repetition gave yet another state, so this engine is not repeatable';
    const tensorDifferences = await this.compareStates(segment, outcome);
    const where =
      stepDifference === null
        ? `every recorded measurement of steps ${segment.firstStep} to ${segment.endStep - 1} is met exactly, only the final state differs`
        : `step ${stepDifference.step} is the first that differs: ` +
          `${stepDifference.quantity} was recorded as ${stepDifference.recorded}, computed as ${stepDifference.computed}`;
    return {
      ...verdict,
      ok: false,
      stepDifference,
      tensorDifferences,
      detail:
        `${start}, state ${outcome.outcome.state.digest} instead of ${segment.endDigest}: ` +
        `${where}${repeatable}${tensorText(tensorDifferences)}`,
    };
  }

  private async again(segment: ReplaySegment): Promise<string | null> {
    this.held = null;
    try {
      await this.takeUp(segment);
    } catch {
      return null; // the segment's start is not kept, so it can't be repeated
    }
    return (await this.execute(segment)).outcome.state.digest;
  }

  private async compareWithin(
    verdict: Omit<SegmentVerdict, 'ok' | 'detail'>,
    steps: StepMeasurement[],
    outcome: Outcome,
    tolerance: number,
    start: string,
  ): Promise<SegmentVerdict> {
    const { segment } = verdict;
    const stepDifference = firstDifference(steps, outcome.reports, tolerance);
    const tensorDifferences = await this.compareStates(segment, outcome);
    const what =
      stepDifference === null
        ? `all measurements of ${counted(steps.length, 'step')} are within ${tolerance}`
        : `step ${stepDifference.step}: ${stepDifference.quantity} was recorded as ${stepDifference.recorded}, ` +
          `computed as ${stepDifference.computed}`;
    return {
      ...verdict,
      ok: stepDifference === null,
      stepDifference,
      tensorDifferences,
      detail:
        `${start}, on other numerics (${this.session.numericsFingerprint} instead of ${segment.numericsFingerprint}): ` +
        `${what}${tensorText(tensorDifferences)}`,
    };
  }

  private async compareStates({ endDigest }: ReplaySegment, { state, outcome }: Outcome): Promise<TensorDifference[]> {
    const { artifacts } = this.input;
    if ((await artifacts.stat(endDigest)) === null) return [];
    const computed = state === null ? this.session.client.heldState(outcome) : piecesOf(state);
    return stateDifferences(artifacts.open(endDigest), computed);
  }
}

async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function tensorText(differences: TensorDifference[]): string {
  const [first] = differences;
  if (first === undefined) return '';
  const worst = differences.reduce((one, other) => (other.maxRel > one.maxRel ? other : one));
  return (
    `; ${differences.length} tensors differ, the first is ${first.name}, ` +
    `and ${worst.name} differs most (by ${worst.maxAbs.toExponential(2)}, relatively ${worst.maxRel.toExponential(2)})`
  );
}
