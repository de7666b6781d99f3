// Knows the present contents of one engine, and has the calls that give it the contents for the next work. A `bring` does nothing if the
// engine has its subject already. Training, evaluation and export of different runs share an engine in this way.
import type { Logger } from 'pino';
import type { ArtifactStore } from '#artifact-store';
import { EspalierError, type engineV1 } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { StateFact, TeacherChoice } from '../pruning-run/record/pruning-run.events.js';
import { tokenSources } from '../pruning-run/record/training-tokens.js';
import type { TeachersHeld, TrainingPlan } from '../pruning-run/planning/training-plan.js';
import type { TrainingProgress } from '../engines/wire/engine-client.js';
import { initialStateRequest, openingMs, sessionKey, sessionOptions, trainRequest } from '../engines/wire/engine-requests.js';
import type { LiveEngine } from '../engines/engine-supervisor.js';
import { StateCarrier } from './state-carrier.js';

interface OpenSession {
  key: string;
  runId: string;
  session: engineV1.OpenSessionResponse;
  tokens: string | null;
  /** The state that the engine holds, or null for no state or an unknown one. */
  state: { digest: string; freshFor: string | null } | null;
  /** The digests of the teachers in the engine's memory, the last used first. */
  teachers: Set<string>;
}

/** A text that is equal for runs whose fresh states are equal, where they share a session. */
const freshStateOf = ({ settings, budget }: PruningRunState): string =>
  [settings.seed, settings.shapeTarget, settings.maskRounding, ...(budget?.cost ?? [])].join(' ');

export type ArtifactsAtHand = Pick<ArtifactStore, 'open' | 'incoming' | 'fileOf' | 'addresses'>;

export class EngineWorkbench {
  private held: OpenSession | null = null;
  /** The paths where the engine has written states since the last `endStates`. */
  private readonly statePaths: string[] = [];

  private readonly carrier: StateCarrier;

  constructor(
    readonly engine: LiveEngine,
    private readonly artifacts: ArtifactsAtHand,
    /** The number of threads of its sessions, which is part of the numerics. */
    readonly threads: number,
    about: { name: string; log: Pick<Logger, 'info' | 'warn'> },
  ) {
    this.carrier = new StateCarrier(engine, artifacts, about);
  }

  /** The run whose model is loaded. */
  get runId(): string | null {
    return this.held?.runId ?? null;
  }

  get sessionId(): string {
    return this.session.session.sessionId;
  }

  /** The numerics of the open session. */
  get numericsFingerprint(): string {
    return this.session.session.numericsFingerprint;
  }

  private get session(): OpenSession {
    if (this.held === null) throw new EspalierError('SESSION_NOT_FOUND', 'no session is open on the engine');
    return this.held;
  }

  /** @param signal ends the wait for files that are sent to the engine */
  async bringModel(
    run: Pick<PruningRunState, 'runId' | 'settings' | 'model'>,
    signal?: AbortSignal,
  ): Promise<engineV1.OpenSessionResponse> {
    const options = sessionOptions(run, this.threads);
    const key = sessionKey(options);
    if (this.held?.key === key) {
      this.held.runId = run.runId;
      return this.held.session;
    }
    this.held = null;
    const session = await this.engine.client.openSession(options, `run ${run.runId}`, openingMs(run.model), signal);
    this.held = { key, runId: run.runId, session, tokens: null, state: null, teachers: new Set() };
    return session;
  }

  /** Closes the session, which frees the engine's memory. */
  async close(): Promise<void> {
    const open = this.held;
    this.held = null;
    if (open !== null) await this.engine.client.closeSession(open.session.sessionId);
  }

  async bringTokens({ data }: { data: Pick<PruningRunState['data'], 'trainSources' | 'trainDigest' | 'trainTokens'> }): Promise<void> {
    const { session } = this;
    if (session.tokens === data.trainDigest) return;
    session.tokens = null;
    const { client, sharesFiles } = this.engine;
    await client.loadTrainingTokens(this.sessionId, tokenSources(data), this.artifacts, sharesFiles);
    session.tokens = data.trainDigest;
  }

  /** Gives the engine the recorded state, or a fresh one from the run's seed. Returns the state's digest. */
  async bringState(run: PruningRunState, state: StateFact | null): Promise<string> {
    const { session } = this;
    if (session.state !== null && this.holdsState(run, state)) return session.state.digest;
    session.state = null;
    // Where recovery widens LoRA, the engine opens the session again for a state of another rank, and drops its teachers.
    if (run.settings.recoverLoraRank > 0) session.teachers = new Set();
    if (state === null) {
      const fresh = await this.engine.client.initialiseState(initialStateRequest(this.sessionId, run));
      session.state = { digest: fresh.digest, freshFor: freshStateOf(run) };
      return fresh.digest;
    }
    await this.carrier.give(state.stateDigest, (from) => this.engine.client.importState(this.sessionId, state.stateDigest, from));
    session.state = { digest: state.stateDigest, freshFor: null };
    return state.stateDigest;
  }

  /** Gives the engine a state that no run has: the run's first one, or one with a share of its heads and units closed. */
  async bringStateToMeasure(run: Pick<PruningRunState, 'settings' | 'model' | 'budget'>, closed: number): Promise<engineV1.StateSummary> {
    Object.assign(this.session, { state: null, teachers: new Set() });
    return this.engine.client.initialiseState({ ...initialStateRequest(this.sessionId, run), closed });
  }

  /** Tells whether the engine can train the run's next step as it is. */
  holds(run: PruningRunState): boolean {
    return this.held?.state != null && this.holdsState(run, run.current);
  }

  private holdsState(run: PruningRunState, state: StateFact | null): boolean {
    const held = this.held?.state;
    return state === null ? held?.freshFor === freshStateOf(run) : held?.digest === state.stateDigest;
  }

  /** The teachers, as a plan of training needs to know them. @param isStored tells whether the engine may read a snapshot from the store */
  teachers(isStored: (stateDigest: string) => boolean): TeachersHeld {
    const { session, artifacts } = this;
    const { teachersKept } = session.session;
    const readsFiles = this.engine.sharesFiles;
    return {
      teachersKept,
      teachersHeld: session.teachers.size,
      holdsTeacher: (teacher) => this.holdsTeacher(teacher),
      stillHolds: (teacher, others) => {
        const place = teacher.kind === 'snapshot' ? [...session.teachers].indexOf(teacher.stateDigest) : 0;
        return place !== -1 && place + others < teachersKept;
      },
      readsFiles,
      fileOf: (stateDigest) => (readsFiles && isStored(stateDigest) ? artifacts.fileOf(stateDigest) : null),
    };
  }

  holdsTeacher(teacher: TeacherChoice): boolean {
    return teacher.kind !== 'snapshot' || this.session.teachers.has(teacher.stateDigest);
  }

  async bringTeacher(teacher: TeacherChoice): Promise<void> {
    const { session } = this;
    if (teacher.kind !== 'snapshot' || this.holdsTeacher(teacher)) return;
    const held = await this.carrier.give(teacher.stateDigest, (from) =>
      this.engine.client.loadTeacher(this.sessionId, teacher.stateDigest, from),
    );
    session.teachers = new Set(held);
  }

  async *train(run: PruningRunState, plan: TrainingPlan, reportIntervalMs: number, signal: AbortSignal): AsyncGenerator<TrainingProgress> {
    const { session } = this;
    let { state } = session;
    session.state = null; // the state is unknown until the engine reports how far it got
    session.teachers = new Set();
    const file = this.engine.sharesFiles ? this.artifacts.incoming.newPath() : undefined;
    if (file !== undefined) this.statePaths.push(file);
    const request = trainRequest(this.sessionId, run.settings, plan, file === undefined ? 'return' : { file }, reportIntervalMs);
    const holdInPartsOf = this.carrier.partBytes;
    for await (const progress of this.engine.client.train({ ...request, holdInPartsOf }, signal)) {
      if (progress.kind === 'segment') {
        const { segment } = progress;
        const { partSums, slices } = segment.outcome;
        if (segment.state === null && partSums.length + slices.length > 0) segment.state = this.carrier.underWay(segment.outcome);
        state = { digest: segment.outcome.state.digest, freshFor: null };
      }
      if (progress.kind === 'end') {
        session.state = state;
        session.teachers = new Set(progress.end.teacherDigests);
      }
      yield progress;
    }
  }

  /** Removes the files of states that the engine wrote and that were not adopted into the store. Never throws. */
  async endStates(): Promise<void> {
    // If a file can't be removed now, the keeper of artifacts removes it later.
    for (const path of this.statePaths.splice(0)) await this.artifacts.incoming.end(path).catch(() => undefined);
  }
}
