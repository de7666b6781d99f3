// The place of one engine: its supervisor, its contents and its present work.
import type { Logger } from 'pino';
import { EspalierError, type engineV1 } from '#protocol';
import type { EngineConnector } from '../engines/engine-link.js';
import type { EngineSupervisor, LiveEngine } from '../engines/engine-supervisor.js';
import { EngineWorkbench, type ArtifactsAtHand } from './engine-workbench.js';
import type { SlotView } from './placement.js';

/**
 * A local engine restarts by itself until it has died this number of times in a row, each soon after a start. From then on it starts only
 * for work.
 */
const RESTARTS_UNASKED_MAX = 2;

/** The time for an answer to a question that takes no work. An engine that takes longer is asked no more until it has answered. */
const ANSWER_MS = 5_000;

export interface SlotUser {
  /** The present work, in words. */
  doing: string;
  /** The run that the work is for, or '' where it is for none. */
  runId: string;
}

export const SLOT_STATUSES = [
  ...(['notStarted', 'starting', 'idle', 'busy', 'notResponding', 'restarting', 'unreachable'] as const),
  ...(['attachedElsewhere', 'standby'] as const),
];
export type SlotStatus = (typeof SLOT_STATUSES)[number];

export interface SlotOptions {
  name: string;
  connector: EngineConnector;
  supervisor: EngineSupervisor;
  /** The number of threads of the engine's sessions; undefined: all threads of the engine. */
  threads: number | undefined;
  /** The device that a local engine is started on, as the option names it; undefined for a named engine. */
  device?: string | undefined;
  artifacts: ArtifactsAtHand;
  log: Pick<Logger, 'info' | 'warn'>;
  /** The boot id of this machine's kernel. */
  bootId: string;
}

export class EngineSlot {
  readonly name: string;
  readonly supervisor: EngineSupervisor;
  readonly connector: EngineConnector;
  private occupant: SlotUser | null = null;
  private bench: EngineWorkbench | null = null;
  /** Whether the slot claims its engine. Only the slots of the driver do. */
  private isWanted = false;
  private known: engineV1.DescribeEngineResponse | null = null;
  private shown: SlotStatus = 'notStarted';
  private readonly listeners: (() => void)[] = [];
  private keeping: Promise<void> = Promise.resolve();
  /** The time when the status began. */
  since = new Date();
  /** The bytes that the occupant will take and has not taken yet. */
  promisedBytes = 0;
  /** The number of questions that the engine should have answered by now. */
  private overdue = 0;
  /** Why the engine gets no work though it answers. */
  private aside: { why: EspalierError; process: string; forGood: boolean } | null = null;

  constructor(private readonly options: SlotOptions) {
    this.name = options.name;
    this.supervisor = options.supervisor;
    this.connector = options.connector;
    this.shown = this.status;
    this.supervisor.onChange(() => this.notify());
  }

  /** The listener is called when the slot's status or its work changes. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  get device(): string | undefined {
    return this.options.device;
  }

  get isNamed(): boolean {
    return this.connector.isNamed;
  }

  /** The engine's last description of itself. */
  get about(): engineV1.DescribeEngineResponse | null {
    return this.supervisor.live?.about ?? this.known;
  }

  /** Whether the engine is about to end in good order. It then takes no new work. */
  get isLeaving(): boolean {
    return this.connector.joined?.isLeaving ?? false;
  }

  get runId(): string {
    return this.occupant?.runId ?? '';
  }

  get isTaken(): boolean {
    return this.occupant !== null;
  }

  /** The work of the slot before it starts new work, in words. */
  get doing(): string {
    if (this.occupant === null) return '';
    return this.supervisor.live === null ? `engine ${this.name} to start` : this.occupant.doing;
  }

  set doing(doing: string) {
    if (this.occupant !== null) this.occupant = { ...this.occupant, doing };
  }

  /** The number of threads of sessions on the engine. @returns 0 if the engine never answered; it then uses its own number */
  get threads(): number {
    return this.options.threads ?? this.about?.threads ?? 0;
  }

  occupy(occupant: SlotUser, promisedBytes = 0): void {
    if (this.occupant !== null) throw new EspalierError('ENGINE_BUSY', `engine ${this.name} is taken: ${this.occupant.doing}`);
    this.occupant = occupant;
    this.promisedBytes = promisedBytes;
    this.notify();
  }

  /** @param forget whether other work opened sessions on the engine, so that its contents are unknown */
  leave({ forget = false } = {}): void {
    this.occupant = null;
    this.promisedBytes = 0;
    if (forget) this.bench = null;
    this.notify();
  }

  /**
   * Waits for the answer to a question for some seconds. The slot gets no new work from then on, until the answer comes after all or the
   * question fails. @throws EspalierError ENGINE_SILENT
   */
  async answer<T>(question: () => Promise<T>, patienceMs = ANSWER_MS): Promise<T> {
    const answer = question();
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<'silent'>((resolve) => (timer = setTimeout(() => resolve('silent'), patienceMs)));
    const first = await Promise.race([answer.then(() => null), silence]).finally(() => clearTimeout(timer));
    if (first === null) return answer;
    this.overdue += 1;
    this.notify();
    const isOver = (): void => {
      this.overdue -= 1;
      this.notify();
    };
    answer.then(isOver, isOver);
    throw new EspalierError('ENGINE_SILENT', `engine ${this.name} left a question without an answer for ${patienceMs / 1_000} s`);
  }

  /** Whether the engine owes an answer. */
  get isSilent(): boolean {
    return this.overdue > 0;
  }

  /**
   * Gives the engine no more work: until another process of it comes, or for as long as this server knows its name.
   * @param forGood whether another process under the name is not trusted either
   */
  setAside(why: EspalierError, { forGood = false } = {}): void {
    if (this.aside?.forGood === true) return;
    this.aside = { why, process: this.process, forGood };
    this.options.log.warn({ engine: this.name, code: why.code }, `the engine is set aside: ${why.message}`);
    this.notify();
  }

  /** The reason why the engine is set aside, or null. */
  get setAsideFor(): EspalierError | null {
    const { aside } = this;
    return aside !== null && (aside.forGood || aside.process === this.process) ? aside.why : null;
  }

  /** Tells the processes of an engine apart. */
  private get process(): string {
    const { about } = this;
    return `${about?.bootId ?? ''} ${about?.pid ?? 0}`;
  }

  /** The workbench of the running engine. Starts an engine where none runs. */
  async workbench(): Promise<EngineWorkbench> {
    const engine = await this.acquire();
    if (this.bench?.engine !== engine) this.bench = new EngineWorkbench(engine, this.options.artifacts, this.threads, this.options);
    return this.bench;
  }

  /** Frees the memory that the last work left in the engine. The next work opens a session again. */
  async freeMemory(): Promise<void> {
    const { bench } = this;
    if (bench === null || this.isTaken) return;
    this.occupy({ doing: 'the memory of the last work, which is freed', runId: '' });
    await bench.close().catch(() => undefined); // an engine that was lost holds nothing
    this.leave({ forget: true });
  }

  async acquire(): Promise<LiveEngine> {
    const engine = await this.supervisor.acquire();
    if (engine.about !== this.known) {
      this.known = engine.about;
      if (!this.isNamed) engine.lost.addEventListener('abort', () => this.restart(), { once: true });
    }
    return engine;
  }

  /** Attaches a named engine from now on, and again whenever it is lost. */
  keepAttached(): void {
    if (this.isWanted) return;
    this.isWanted = true;
    if (this.isNamed) this.keeping = this.keep();
    this.notify();
  }

  /** Gives a named engine back unless it works. If it works, another orchestrator that claims it makes its work fail and end. */
  async letGo(): Promise<void> {
    if (!this.isNamed || this.isTaken || !this.isWanted) return;
    this.isWanted = false;
    this.notify();
    await this.supervisor.letGo(new EspalierError('ENGINE_LOST', 'the engine was given back: another orchestrator drives the runs'));
    await this.keeping;
    this.notify();
  }

  async stop(): Promise<void> {
    this.isWanted = false;
    await this.supervisor.stop();
  }

  get status(): SlotStatus {
    const { condition, problem } = this.supervisor;
    if (condition === 'up') return this.isTaken ? 'busy' : 'idle';
    if (condition === 'notResponding') return 'notResponding';
    if (this.isNamed) {
      if (!this.isWanted) return 'standby';
      if (problem === null) return 'starting';
      return problem.code === 'ENGINE_ATTACHED_ELSEWHERE' ? 'attachedElsewhere' : 'unreachable';
    }
    if (condition === 'absent') return 'notStarted';
    return condition === 'waiting' || problem !== null ? 'restarting' : 'starting';
  }

  view(): SlotView {
    const { supervisor, about } = this;
    const isUp = supervisor.condition === 'up' || supervisor.condition === 'notResponding';
    return {
      name: this.name,
      state: this.isTaken
        ? 'taken'
        : supervisor.condition === 'notResponding' ||
            (this.isNamed && !isUp) ||
            this.isLeaving ||
            this.isSilent ||
            this.setAsideFor !== null
          ? 'down'
          : 'free',
      isUp,
      problem: this.problemText,
      runId: this.runId || (this.bench?.runId ?? null),
      failures: supervisor.failures > 1 ? supervisor.failures : 0,
      device: about?.backend ?? '',
      memoryPool: `${about?.bootId ?? this.options.bootId} ${about?.backend ?? 'cpu'}`,
      promisedBytes: this.promisedBytes,
      sharesFiles: !this.isNamed || (about !== null && about.bootId !== '' && about.bootId === this.options.bootId),
    };
  }

  private get problemText(): string {
    const { problem } = this.supervisor;
    if (this.isLeaving) return 'is about to end';
    if (this.setAsideFor !== null) return `is set aside: ${this.setAsideFor.message}`;
    if (this.isSilent) return 'leaves a question without an answer';
    return problem === null
      ? `is ${this.status === 'notResponding' ? 'not responding' : 'not attached yet'}`
      : `can't be had: ${problem.message}`;
  }

  private async keep(): Promise<void> {
    while (this.isWanted) {
      try {
        const { lost } = await this.acquire();
        if (!lost.aborted) await new Promise((resolve) => lost.addEventListener('abort', resolve, { once: true }));
      } catch (error) {
        if ((error as EspalierError).code === 'SHUTTING_DOWN') return;
      }
    }
  }

  /** Restarts an engine that died. An engine that was well before will be needed again. */
  private restart(): void {
    if (this.supervisor.failures <= RESTARTS_UNASKED_MAX) this.acquire().catch(() => undefined); // the supervisor reports its failure
  }

  private notify(): void {
    const { status } = this;
    if (status !== this.shown) {
      this.shown = status;
      this.since = new Date();
    }
    for (const listener of this.listeners) listener();
  }
}
