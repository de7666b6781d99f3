// Reads one run's events in order and reports their problems: gaps, bytes that do not fit the digest chain, wrong fields, steps that do not
// join, states that no event recorded. The server uses it on its store, and the offline check on a bundle.
import { canonicalJson } from './canonical-json.js';
import { ChainChecker } from './chain-checker.js';
import { afterReplay, replaysBefore, type ReplayedSteps } from './replayed-steps.js';
import { eventVersions, isKnownType, schemaProblem, type CheckedEvent, type KnownType } from './event-schemas.js';

export interface RawEvent {
  revision: bigint;
  id: string;
  type: string;
  /** The bytes as they are stored. */
  data: Uint8Array;
  /** The event's metadata. Espalier stores none, and a bundle holds none. */
  metadata?: Uint8Array;
}
export type CheckName =
  | 'store'
  | 'contiguity'
  | 'schema'
  | 'chain'
  | 'steps'
  | 'metrics'
  | 'artifacts'
  | 'lineage'
  | 'file'
  | 'signature'
  | 'replay';
export interface Problem {
  check: CheckName;
  /** The place of the problem: "run abcd revision 7", "artifact 12ab...", "entry events/...". */
  subject: string;
  detail: string;
}

/** A segment's batch of metrics, as its MasksUpdated event names it. */
export interface NamedBatch {
  revision: number;
  firstStep: number;
  endStep: number;
  metricsRevision: number;
  metricsDigest: string;
  /** The digest of the gates that are open at the end. */
  openDigest: string;
}
export interface Instruction {
  fromStep: number;
  teacher: string;
  reason: string;
  explanation: string;
}
export interface ForkFact {
  parentRunId: string;
  parentRevision: number;
  stateDigest: string;
}

export const METADATA_FOUND = 'it has metadata, which nothing vouches for: none was recorded';
export const hasMetadata = ({ metadata }: RawEvent): boolean => metadata !== undefined && metadata.byteLength > 0;

export class HistoryChecker {
  readonly problems: Problem[] = [];
  readonly batches: NamedBatch[] = [];
  readonly instructions: Instruction[] = [];
  readonly unknownTypes = new Map<string, number>();
  /** The digests of recorded states, each with the first revision that names it. */
  readonly states = new Map<string, number>();
  readonly exports: { digest: string; files: { name: string; digest: string }[] }[] = [];
  readonly dataDigests = new Set<string>();
  /** The number of the model's gates: heads, units and hidden units together. Null where the first event can't be read. */
  gates: number | null = null;
  /** The number of events that were read. */
  read = 0;
  /** The number of events up to the last one, with those that are missing or could not be read. */
  events = 0;
  /** The revisions of the events that the store could not deliver. */
  readonly unread: number[] = [];
  step = 0;
  /** The step at which the run was forked, or 0. */
  forkedAt = 0;
  /** The steps of the current branch that were computed twice. */
  replays: ReplayedSteps[] = [];
  fork: ForkFact | null = null;
  private abandoned = 0;
  /** The digest of the masks of the current phase, if they are frozen. */
  private frozenMasks = '';
  private readonly chains = new ChainChecker();
  /** Events were missing or damaged since the last segment, so the first step of the next segment is unknown. */
  private stepUnsure = false;
  /** Events were missing or damaged since the beginning, so some recorded facts are unknown. */
  private unsure = false;

  constructor(
    private readonly runId: string,
    private readonly versions = eventVersions,
  ) {}

  /** The digest chain after the last event. */
  get chain(): string {
    return this.chains.chain;
  }

  push(event: RawEvent): void {
    const problems = this.problems.length;
    this.read += 1;
    this.check(event, `run ${this.runId} revision ${event.revision}`);
    if (this.problems.length > problems) this.stepUnsure = this.unsure = true;
  }

  /** Checks an event. A damaged event gives one problem: later checks leave it out, and facts that depend on it are not checked. */
  private check(event: RawEvent, subject: string): void {
    const problems = this.problems.length;
    this.checkPlace(event, subject);
    const fields = this.parse(event, subject);
    if (fields === null) {
      this.chains.lose();
      return;
    }
    this.checkChain(event, fields, subject);
    const version = Number(fields['v']);
    if (!isKnownType(event.type) || version > this.versions.versionOf(event.type)) {
      this.unknownTypes.set(event.type, (this.unknownTypes.get(event.type) ?? 0) + 1);
      return;
    }
    const unfit = schemaProblem(this.versions.schema(event.type, version), fields);
    if (unfit !== null) {
      this.report('schema', subject, `${event.type}: ${unfit}`);
      return;
    }
    if (this.problems.length > problems) return;
    const { v: _, at, chain, context, ...stored } = fields;
    const newest = { v: this.versions.versionOf(event.type), at, chain, context, ...this.versions.upcast(event.type, version, stored) };
    this.checkMeaning(event.type, newest, Number(event.revision), subject);
  }

  private checkPlace({ revision }: RawEvent, subject: string): void {
    const expected = BigInt(this.events);
    this.events = Number(revision) + 1;
    if (revision === expected) return;
    const missing = revision > expected;
    this.report(
      'contiguity',
      subject,
      missing ? `revision ${expected} was expected: ${revision - expected} missing` : `revision ${expected} was expected`,
    );
    this.chains.lose();
  }

  /** Tells that the store could not deliver this event. */
  unreadable(revision: bigint, detail: string): void {
    this.report('store', `run ${this.runId} revision ${revision}`, detail);
    this.events = Number(revision) + 1;
    this.unread.push(Number(revision));
    this.chains.lose();
    this.stepUnsure = this.unsure = true;
  }

  /** Reports events that are missing at the end. A cut-off end leaves no gap, so it is only found by a later revision that was seen. */
  endsBefore(seenRevision: number): void {
    if (seenRevision >= this.events)
      this.report(
        'contiguity',
        `run ${this.runId} revision ${this.events}`,
        `missing: the run was seen at revision ${seenRevision} before`,
      );
  }

  private parse(event: RawEvent, subject: string): Record<string, unknown> | null {
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(event.data));
    } catch (error) {
      this.report('chain', subject, `${event.type}: the bytes are not JSON (${(error as Error).message})`);
      return null;
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.report('schema', subject, `${event.type}: an object was expected`);
      return null;
    }
    if (Buffer.compare(Buffer.from(canonicalJson(value), 'utf8'), event.data) !== 0) {
      this.report('chain', subject, `${event.type}: the bytes are not the canonical form of what they say`);
    }
    return value as Record<string, unknown>;
  }

  private checkChain(event: RawEvent, fields: Record<string, unknown>, subject: string): void {
    const problem = this.chains.problem(event, fields);
    if (problem !== null) this.report('chain', subject, problem);
    if (hasMetadata(event)) this.report('chain', subject, `${event.type}: ${METADATA_FOUND}`);
  }

  private checkMeaning(type: KnownType, fields: Record<string, unknown>, revision: number, subject: string): void {
    const first = type === 'RunLaunched' || type === 'RunForked';
    if (first !== (revision === 0)) this.report('schema', subject, first ? `${type} may only come first` : `${type} can't come first`);
    switch (type) {
      case 'RunLaunched':
      case 'RunForked':
        this.takeStart(type, fields as CheckedEvent<'RunForked'>, subject);
        break;
      case 'PhaseStarted':
        this.frozenMasks = (fields as CheckedEvent<'PhaseStarted'>).masksDigest;
        break;
      case 'MasksUpdated':
        this.takeSegment(fields as CheckedEvent<'MasksUpdated'>, revision, subject);
        break;
      case 'TeacherSnapshotted': {
        const { state } = fields as CheckedEvent<'TeacherSnapshotted'>;
        if (!this.unsure && !this.states.has(state.stateDigest))
          this.report('steps', subject, `the teacher's state ${state.stateDigest} was not recorded before`);
        break;
      }
      case 'StepsReplayed':
        this.takeReplay(fields as CheckedEvent<'StepsReplayed'>, subject);
        break;
      case 'RunRewound':
        this.takeRewind(fields as CheckedEvent<'RunRewound'>, revision, subject);
        break;
      case 'TeacherAssigned':
        this.takeInstruction(fields as CheckedEvent<'TeacherAssigned'>);
        break;
      case 'RunPrepared':
        this.takeData((fields as CheckedEvent<'RunPrepared'>).data);
        break;
      case 'RunCompleted': {
        const { step } = fields as CheckedEvent<'RunCompleted'>;
        if (!this.stepUnsure && step !== this.step)
          this.report('steps', subject, `completed at step ${step}, but ${this.step} steps are recorded`);
        break;
      }
      case 'ModelExported': {
        const { exportDigest, files } = fields as CheckedEvent<'ModelExported'>;
        this.exports.push({ digest: exportDigest, files });
        break;
      }
      default:
    }
  }

  private takeStart(type: KnownType, fields: CheckedEvent<'RunForked'>, subject: string): void {
    if (fields.runId !== this.runId) this.report('lineage', subject, `it says that it belongs to run ${fields.runId}`);
    if (fields.data.trainDigest !== '') this.takeData(fields.data);
    const { layers, hiddenSize } = fields.model;
    this.gates = layers.reduce((sum, { heads, units }) => sum + heads + units, hiddenSize);
    if (type === 'RunLaunched') return;
    this.fork = { parentRunId: fields.parentRunId, parentRevision: fields.parentRevision, stateDigest: fields.from.stateDigest };
    this.step = this.forkedAt = fields.from.step;
    this.frozenMasks = fields.from.masksDigest; // where the parent recovers already, no phase begins in the fork
    this.states.set(fields.from.stateDigest, 0);
    for (const { state } of fields.inheritedTeachers) this.states.set(state.stateDigest, 0);
  }

  private takeData({ trainDigest, trainSources, validationDigest }: CheckedEvent<'RunPrepared'>['data']): void {
    const shards = trainSources?.flatMap((source) => source.shards) ?? [{ digest: trainDigest }];
    for (const { digest } of shards) this.dataDigests.add(digest);
    if (validationDigest !== null) this.dataDigests.add(validationDigest);
  }

  private takeSegment(
    { firstStep, phase, state, metricsRevision, metricsDigest, openDigest }: CheckedEvent<'MasksUpdated'>,
    revision: number,
    subject: string,
  ): void {
    if (!this.stepUnsure && firstStep !== this.step)
      this.report('steps', subject, `the segment starts at step ${firstStep}, the one before ended at ${this.step}`);
    if (phase === 'recover' && !this.unsure && state.masksDigest !== this.frozenMasks)
      this.report('steps', subject, `its masks are ${state.masksDigest}, the phase began with ${this.frozenMasks || 'none'} frozen`);
    if (state.step <= firstStep) this.report('steps', subject, `the segment from ${firstStep} ends at ${state.step}`);
    this.step = state.step;
    this.stepUnsure = false;
    if (!this.states.has(state.stateDigest)) this.states.set(state.stateDigest, revision);
    this.batches.push({ revision, firstStep, endStep: state.step, metricsRevision, metricsDigest, openDigest });
  }

  private takeRewind({ toStep, state, abandonedFromRevision }: CheckedEvent<'RunRewound'>, revision: number, subject: string): void {
    if (!this.unsure && state !== null && !this.states.has(state.stateDigest)) {
      this.report('steps', subject, `the state ${state.stateDigest} that it goes back to was not recorded before`);
    }
    if (state === null && this.fork !== null)
      this.report('steps', subject, 'it goes back to the fresh state of the seed, which a fork does not have');
    if ((state?.step ?? 0) !== toStep || abandonedFromRevision >= revision)
      this.report('steps', subject, 'it does not go back to an earlier point');
    this.step = toStep;
    this.stepUnsure = false;
    this.abandoned += 1;
    this.replays = replaysBefore(this.replays, toStep);
    while (this.instructions.length > 0 && this.instructions.at(-1)!.fromStep >= toStep) this.instructions.pop();
  }

  private takeReplay(replay: CheckedEvent<'StepsReplayed'>, subject: string): void {
    for (const { firstStep, endStep, stateDigest } of replay.stretches)
      if (!this.unsure && (firstStep >= endStep || endStep > this.step || !this.states.has(stateDigest)))
        this.report('steps', subject, `no recorded steps ${firstStep} to ${endStep - 1} end in state ${stateDigest}`);
    this.replays = afterReplay(this.replays, replay);
  }

  private takeInstruction({ fromStep, teacher, reason, explanation }: CheckedEvent<'TeacherAssigned'>): void {
    const name =
      teacher.kind === 'snapshot'
        ? `teacher ${teacher.mark} (${teacher.stateDigest})`
        : teacher.kind === 'intact'
          ? 'intact model'
          : 'no teacher';
    this.instructions.push({ fromStep, teacher: name, reason, explanation });
  }

  /** Tells whether no event was missing or damaged. */
  get isWhole(): boolean {
    return !this.unsure;
  }

  get rewinds(): number {
    return this.abandoned;
  }

  private report(check: CheckName, subject: string, detail: string): void {
    this.problems.push({ check, subject, detail });
  }
}
