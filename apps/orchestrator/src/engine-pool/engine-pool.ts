// All engines of this orchestrator. The pool collects the facts that the placement of work needs, and lends an engine to callers that take
// any.
import { toEspalierError, type engineV1 } from '#protocol';
import type { OwnEngine } from '../engines/own-engine.js';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { sessionKey, sessionOptions } from '../engines/wire/engine-requests.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { EngineSlot } from './engine-slot.js';
import { askingFor, type EngineSource, type RunInNeed, type RunToFit } from './engine-source.js';
import {
  noEngineForRequest,
  place,
  type Fit,
  type PlaceForRun,
  type Placement,
  type SlotView,
  type WaitingJob,
  type WaitingRun,
} from './placement.js';

/** An engine's answer about a run is used for this time only, since its free memory changes. */
const FIT_VALID_MS = 2_000;

/** An engine for questions that touch no session. */
export interface Consultation {
  client: EngineApi;
  slot: EngineSlot;
  /** The device that the engine computes on, such as "cuda:0". */
  device: string;
  close(): void;
}

interface Appraisal {
  fit: Fit;
  memory: engineV1.PlanMemoryResponse | null;
}

/** The number of waiting runs that engines are asked about at first, even where fewer engines are free. */
const LEAST_ASKED = 8;

const UNASKED: ReadonlyMap<string, Fit> = new Map();
const NOT_BARRED: ReadonlySet<string> = new Set();

const fitsIn = (appraisals: ReadonlyMap<string, Appraisal>): Map<string, Fit> =>
  new Map([...appraisals].map(([name, { fit }]) => [name, fit]));

interface SessionOfRun {
  model: RunToFit['model'];
  options: engineV1.SessionOptions;
  key: string;
}

/** The sessions of runs without their threads, which differ by slot. Settings and model keep their objects from event to event. */
const sessions = new WeakMap<RunToFit['settings'], SessionOfRun>();
function sessionOf(run: RunToFit): SessionOfRun {
  const { settings, model } = run;
  const known = sessions.get(settings);
  if (known?.model === model) return known;
  const options = sessionOptions(run, 0);
  const session = { model, options, key: sessionKey(options) };
  sessions.set(settings, session);
  return session;
}

function inNeed(run: PruningRunState, { fingerprint, fits }: Pick<WaitingRun, 'fingerprint' | 'fits'>): RunInNeed {
  const { runId, settings, model, budget } = run;
  return { runId, settings, model, budget, key: sessionOf(run).key, caller: run.launchedBy ?? '', fingerprint, fits };
}

const hasRoom = ({ totalBytes, availableBytes }: engineV1.PlanMemoryResponse): boolean => totalBytes <= availableBytes;

export class EnginePool {
  private readonly appraisals = new Map<string, { answer: Promise<Appraisal | null>; atMs: number }>();
  private readonly listeners: (() => void)[] = [];
  private heartbeat: (slot: EngineSlot) => void = () => undefined;
  /** Whether this orchestrator drives the runs. */
  private drives = false;
  private all: readonly EngineSlot[] = [];
  private source: EngineSource | null = null;

  /** @param own answers questions where this server starts no engine for runs */
  constructor(
    slots: readonly EngineSlot[],
    private readonly own: Pick<OwnEngine, 'ask' | 'stop'> | null = null,
  ) {
    for (const slot of slots) this.add(slot);
  }

  /** The slots as an array that is never changed: a new one replaces it when an engine joins or is forgotten. */
  get slots(): readonly EngineSlot[] {
    return this.all;
  }

  bringsMore(source: EngineSource): void {
    this.source = source;
  }

  /** The most engines that can work side by side. */
  get most(): number {
    return Math.max(this.slots.length, this.source?.most ?? 0);
  }

  add(slot: EngineSlot): void {
    this.all = [...this.all, slot];
    slot.onChange(() => this.notify());
    slot.supervisor.onHeartbeat(() => this.heartbeat(slot));
    if (this.drives) slot.keepAttached();
    this.notify();
  }

  /** Removes the slot of an engine that will not come back. */
  async remove(slot: EngineSlot): Promise<void> {
    this.all = this.all.filter((one) => one !== slot);
    await slot.stop();
    this.notify();
  }

  /** The listener is called when a slot comes, goes, or changes its status or its work. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** The listener is called at each sign of life of an engine. */
  onHeartbeat(listener: (slot: EngineSlot) => void): void {
    this.heartbeat = listener;
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }

  /** Whether any engine works, or would be started for work. */
  get canWork(): boolean {
    return this.source !== null || this.slots.some(({ status }) => ['notStarted', 'starting', 'idle', 'busy'].includes(status));
  }

  /** Whether no engine answers and none can be started, so that work waits until one dials in or is back. */
  get isForsaken(): boolean {
    return this.source === null && this.slots.every(({ isNamed, status }) => isNamed && !['idle', 'busy'].includes(status));
  }

  /** The slot of this name, or undefined where its engine has left. */
  slot(name: string): EngineSlot | undefined {
    return this.slots.find((slot) => slot.name === name);
  }

  /** Called when this orchestrator drives the runs from now on, and so uses the engines. */
  claimAll(): void {
    this.drives = true;
    for (const slot of this.slots) slot.keepAttached();
  }

  /** Called when another orchestrator drives the runs from now on. */
  async letGoAll(): Promise<void> {
    this.drives = false;
    this.source?.wants([], false);
    await Promise.all(this.slots.map((slot) => slot.letGo()));
  }

  async stop(): Promise<void> {
    await Promise.all([this.own?.stop(), ...this.slots.map((slot) => slot.stop())]);
  }

  /**
   * @param runs the waiting runs in the order of their turn
   * @param refusals the engines that must not have a run, each with the reason in words
   */
  async place(
    runs: readonly PruningRunState[],
    jobs: readonly WaitingJob[],
    refusals: (runId: string) => ReadonlyMap<string, string> = () => new Map(),
  ): Promise<Placement> {
    // Engines are asked only where a slot is free.
    const idle = this.slots.filter(({ isTaken }) => !isTaken).length;
    this.forgetOldAppraisals();
    // Many waiting runs are alike, as those of a study. The engines are asked once about all of them.
    const alike = new Map<string, Promise<ReadonlyMap<string, Fit>>>();
    const fitsOf = (run: PruningRunState): Promise<ReadonlyMap<string, Fit>> => {
      const { key } = sessionOf(run);
      const fits = alike.get(key) ?? this.appraise(run, { force: false }).then(fitsIn);
      alike.set(key, fits);
      return fits;
    };
    // Engines are asked about the runs whose turn is next, and about more runs only while free engines suit none of these.
    for (let asked = idle === 0 ? 0 : Math.max(LEAST_ASKED, idle); ; asked *= 2) {
      const waiting = await Promise.all(
        runs.map((run, index) => this.waitingRun(run, index < asked ? fitsOf(run) : UNASKED, refusals(run.runId))),
      );
      const views = this.slots.map((slot) => slot.view());
      const free = views.filter(({ state }) => state === 'free').length;
      const known = asked === 0 ? waiting : waiting.slice(0, asked);
      const first = place(views, known, jobs);
      const left = free - first.runs.length - first.jobs.filter(({ atOnce }) => atOnce).length;
      if (asked > 0 && left > 0 && known.length < runs.length) continue;
      const placement = known.length === runs.length ? first : place(views, waiting, jobs);
      if (this.source === null) return placement;
      return askingFor(
        this.source,
        placement,
        runs.map((run, index) => inNeed(run, waiting[index]!)),
        jobs,
      );
    }
  }

  /**
   * Asks an engine of this installation. Engines of users are not asked, since the server believes the answer: it decides what a run
   * is, and what the files of an export are. @throws EspalierError the reason why none can be asked
   */
  async question<T>(ask: (client: EngineApi) => Promise<T>): Promise<T> {
    const { found: consultation, reason } = await this.firstThat(
      () => true,
      (slot) => !slot.isNamed,
    );
    if (consultation === null) {
      if (this.own === null || this.slots.some(({ isNamed }) => !isNamed)) throw reason;
      return this.own.ask(ask);
    }
    try {
      return await ask(consultation.client);
    } finally {
      consultation.close();
    }
  }

  /** Returns an engine to ask. @throws EspalierError the reason why none can be asked */
  async consult(): Promise<Consultation> {
    const { found, reason } = await this.firstThat(() => true);
    if (found === null) throw reason;
    return found;
  }

  /**
   * Returns an engine that computes on the device. Where no engine does, returns the devices on which engines compute.
   * @throws EspalierError the reason why no engine can be asked
   */
  async consultOn(device: string): Promise<Consultation | { others: string[] }> {
    const others = new Set<string>();
    const { found, reason } = await this.firstThat((one) => {
      if (one.device !== device) others.add(one.device);
      return one.device === device;
    });
    if (found !== null) return found;
    if (others.size === 0) throw reason;
    return { others: [...others].sort() };
  }

  /** @returns the first engine that suits, or null with the error of the first engine that can't be asked */
  private async firstThat(
    suits: (one: Consultation) => boolean,
    mayAnswer: (slot: EngineSlot) => boolean = () => true,
  ): Promise<{ found: Consultation | null; reason: unknown }> {
    const rank = (slot: EngineSlot): number => (slot.isSilent ? 4 : slot.view().isUp ? (slot.isTaken ? 1 : 0) : slot.isNamed ? 3 : 2);
    const inOrder = this.slots.filter(mayAnswer).toSorted((left, right) => rank(left) - rank(right));
    let reason: unknown;
    if (inOrder.length === 0) reason = noEngineForRequest();
    const unsuitable = new Set<string>();
    for (const slot of inOrder) {
      // Local engines on one device are alike, so a second one is not started to give the same answer.
      if (slot.device !== undefined && unsuitable.has(slot.device)) continue;
      try {
        const consultation = await this.consultAt(slot);
        if (suits(consultation)) return { found: consultation, reason };
        consultation.close();
        if (slot.device !== undefined) unsuitable.add(slot.device);
      } catch (error) {
        reason ??= error;
      }
    }
    return { found: null, reason };
  }

  /**
   * Returns the engine that a new run would get, and the memory that the run would take there. @throws EspalierError
   * the reason why no engine can take the run
   */
  async forNewRun(run: RunToFit): Promise<PlaceForRun> {
    const appraised = await this.appraise(run, { force: true });
    const fits = fitsIn(appraised);
    const asked = this.slots.filter(({ name }) => fits.has(name)).map((slot) => slot.view());
    const wanted: WaitingRun = { runId: '', fingerprint: null, waitsForNumerics: false, lastSlot: null, fits, barred: NOT_BARRED };
    const asIfFree = asked.map((view): SlotView => ({ ...view, state: 'free' }));
    const engine = [asked, asIfFree].map((slots) => place(slots, [wanted], []).runs[0]?.slot).find((name) => name !== undefined);
    const memory = engine === undefined ? null : (appraised.get(engine)?.memory ?? null);
    const isHere = engine !== undefined && memory !== null;
    if (isHere && (this.source === null || hasRoom(memory))) return { engine, memory };
    // A job that has more memory than the engines that are here may be asked for.
    if (this.source !== null && (isHere || asked.length === 0)) {
      const there = await this.source.planMemory(run);
      if (!isHere || hasRoom(there)) return { engine: '', memory: there };
    }
    if (isHere) return { engine, memory };
    const { client, slot, close } = await this.consult();
    try {
      const memory = await slot.answer(() => client.planMemory(sessionOptions(run, slot.threads)));
      return { engine: slot.name, memory };
    } finally {
      close();
    }
  }

  /**
   * The engine that a run would go on at, once it is free, with its numerics. Null where that is open: the run would wait for an engine
   * that does not answer now, or engines of a fleet may come.
   */
  async placeToGoOn(run: PruningRunState): Promise<{ engine: string; numericsFingerprint: string } | null> {
    if (this.source !== null) return null;
    const fits = fitsIn(await this.appraise(run, { force: true }));
    const wanted: WaitingRun = {
      runId: run.runId,
      fingerprint: run.numericsFingerprint,
      waitsForNumerics: false,
      lastSlot: run.engine?.engineName ?? null,
      fits,
      barred: NOT_BARRED,
    };
    const asIfFree = this.slots.map((slot): SlotView => ({ ...slot.view(), ...(fits.has(slot.name) ? { state: 'free' } : {}) }));
    const engine = place(asIfFree, [wanted], []).runs[0]?.slot ?? '';
    const fit = fits.get(engine);
    return fit === undefined || 'problem' in fit ? null : { engine, numericsFingerprint: fit.fingerprint };
  }

  /** Whether engines of other numerics may come: from a fleet, or by dialling in as others have. */
  private get mayGetOthers(): boolean {
    return this.source !== null || this.slots.some(({ connector }) => connector.joined !== undefined);
  }

  private async waitingRun(
    run: PruningRunState,
    asked: Promise<ReadonlyMap<string, Fit>> | ReadonlyMap<string, Fit>,
    refusals: ReadonlyMap<string, string>,
  ): Promise<WaitingRun> {
    const fits = await asked;
    const refused = [...refusals].map(([name, problem]) => [name, { problem }] as const);
    const waiting = {
      runId: run.runId,
      fingerprint: run.acceptOtherNumerics ? null : run.numericsFingerprint,
      waitsForNumerics: this.mayGetOthers,
      lastSlot: run.engine?.engineName ?? null,
      fits: refused.length === 0 ? fits : new Map([...fits, ...refused]),
    };
    return { ...waiting, barred: this.source?.barred(inNeed(run, waiting)) ?? NOT_BARRED };
  }

  /**
   * Asks the engines about the run. Local engines that compute on the same device are alike, so only one of them is asked.
   * @param force whether to ask even where there is only one engine
   */
  private async appraise(run: RunToFit, { force }: { force: boolean }): Promise<Map<string, Appraisal>> {
    if (this.slots.length === 1 && !force && !this.mayGetOthers) return new Map(); // there is no choice
    const local = this.slots.filter(({ isNamed }) => !isNamed);
    const idle = local.filter(({ isTaken }) => !isTaken);
    const speakers = new Map<string | undefined, EngineSlot>();
    for (const slot of [...idle].sort((left, right) => Number(right.view().isUp) - Number(left.view().isUp)))
      if (!speakers.has(slot.device)) speakers.set(slot.device, slot);
    const asked = this.slots.filter((slot) => speakers.get(slot.device) === slot || slot.view().isUp || (force && slot.isNamed));
    const answers = await Promise.all(asked.map(async (slot) => [slot, await this.ask(slot, run)] as const));
    const appraisals = new Map<string, Appraisal>();
    for (const [slot, answer] of answers) if (answer !== null) appraisals.set(slot.name, answer);
    for (const { name, device } of idle) {
      const alike = appraisals.get(speakers.get(device)?.name ?? '');
      if (alike !== undefined && !appraisals.has(name)) appraisals.set(name, alike);
    }
    return appraisals;
  }

  /** The engine's answer about the run, or null where it can't be asked now, or gives none in time. */
  private ask(slot: EngineSlot, run: RunToFit): Promise<Appraisal | null> {
    if (slot.isSilent || slot.setAsideFor !== null) return Promise.resolve(null);
    const key = `${slot.name} ${slot.about?.pid ?? 0} ${slot.isTaken} ${slot.threads} ${sessionOf(run).key}`;
    const known = this.appraisals.get(key);
    const now = performance.now();
    if (known !== undefined && now - known.atMs < FIT_VALID_MS) return known.answer;
    const answer = this.askNow(slot, run);
    this.appraisals.set(key, { answer, atMs: now });
    return answer;
  }

  private forgetOldAppraisals(): void {
    const now = performance.now();
    for (const [key, { atMs }] of this.appraisals) if (now - atMs >= FIT_VALID_MS) this.appraisals.delete(key);
  }

  private async askNow(slot: EngineSlot, run: RunToFit): Promise<Appraisal | null> {
    let consultation: Consultation;
    try {
      consultation = await this.consultAt(slot);
    } catch {
      return null;
    }
    try {
      const memory = await slot.answer(() => consultation.client.planMemory({ ...sessionOf(run).options, threads: slot.threads }));
      const { numericsFingerprint: fingerprint, totalBytes, availableBytes } = memory;
      return { memory, fit: { fingerprint, neededBytes: Number(totalBytes), availableBytes: Number(availableBytes) } };
    } catch (error) {
      const { code, message } = toEspalierError(error);
      return ['ENGINE_LOST', 'ENGINE_FAILED', 'ENGINE_SILENT'].includes(code) ? null : { memory: null, fit: { problem: message } };
    } finally {
      consultation.close();
    }
  }

  private async consultAt(slot: EngineSlot): Promise<Consultation> {
    const visit = slot.supervisor.live === null ? slot.connector.visit() : null;
    if (visit === null) {
      const { client, about } = await slot.acquire();
      return { client, slot, device: about.backend, close: () => undefined };
    }
    const { client, about, close } = await slot.answer(() => visit);
    return { client, slot, device: about.backend, close };
  }
}
