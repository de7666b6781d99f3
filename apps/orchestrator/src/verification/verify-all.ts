// Answers VerifyAll: checks every event of the store, the records of every run and study, and every artifact. Findings are reported as they
// are made.
import { setTimeout as sleep } from 'node:timers/promises';
import { HistoryChecker } from '#audit';
import type { ArtifactEntry, ArtifactStore } from '#artifact-store';
import { byteWords } from '#comparison';
import { endOf, EventCorruptError, missingText, type EventStore, type Position, type StoredEvent } from '#event-store';
import { rememberedTokens } from '#model-files';
import { counted, v1 } from '#protocol';
import { ViewsDamagedError } from '../event-sourcing/read-models/views-file.js';
import { artifactOf } from '../pruning-run/record/measures.js';
import { RUN_STREAM_PREFIX, runIdOf } from '../pruning-run/record/stored-event.js';
import { TABLE_BYTES_MAX } from '../run-inputs/read-speed-table.js';
import { isSpeedTable } from '../run-inputs/speed-table-file.js';
import { ReplayPlanner } from './replay/replay-plan.js';
import { checkOf, StudyRecords } from './study-records.js';
import type { MakeVerdict, VerifyContext } from './verify-context.js';
import { artifactsNamed, excuseOf, manifestFits, recordVerdicts, runsMeanwhile, type CheckedRecord } from './verify-run.js';

const RETRY_MS = 1_000;
const RUNS_AT_ONCE = 8;
/** The number of events between two reports of progress. */
const EVENTS_PER_VERDICT = 1_000;
const STORE_SHARE = 0.2;
const RUNS_SHARE = 0.4;

type Context = Pick<VerifyContext, 'views' | 'store' | 'artifacts' | 'condition'>;

/** The knowledge of the runs' records about an artifact. */
interface Named {
  what: string;
  /** The runs that need the artifact. Without one it may be missing. */
  needers: string[];
  /** For an export's manifest, tells whether its files are those of the record. */
  fits: () => Promise<boolean>;
}

export async function* verifyAll(context: Context, signal: AbortSignal): AsyncGenerator<v1.VerifyAllResponse> {
  const summary = v1.VerifyAllSummary.fromPartial({ ok: true });
  const noted = (verdict: v1.VerifyRunResponse): v1.VerifyRunResponse => {
    const { check, subject, ok, detail } = verdict;
    if (!ok) {
      summary.ok = false;
      summary.problems.push(`${check}: ${subject}: ${detail}`);
    }
    return verdict;
  };
  const say: MakeVerdict = (...said) => noted(verdictOf(...said));
  const ofRun = (runId: string, verdict: v1.VerifyRunResponse): v1.VerifyAllResponse => ({ ...verdict, runId, summary: undefined });

  for await (const verdict of viewsVerdicts(context, say, signal)) yield ofRun('', verdict);
  const store = new StoreReader(context.store, signal);
  for await (const verdict of store.verdicts(say)) yield ofRun('', verdict);
  const { missing } = context.condition;
  if (missing !== null) yield ofRun('', say('store', 'the event store', false, missingText(missing), STORE_SHARE));
  summary.events = BigInt(store.events);
  summary.studies = BigInt(store.studies.studies);

  const runIds = [...new Set([...store.runIds, ...knownRuns(context)])].sort();
  const named = new Map<string, Named>();
  for await (const { runId, record, verdicts } of inOrder(runIds, RUNS_AT_ONCE, (runId) => checkedRun(context, runId, signal))) {
    summary.runs += 1n;
    const doneShare = STORE_SHARE + (RUNS_SHARE * Number(summary.runs)) / runIds.length;
    for (const verdict of verdicts) yield { ...ofRun(runId, noted(verdict)), doneShare };
    if (verdicts.some(({ ok }) => !ok)) summary.runsWithProblems += 1n;
    addNames(named, context, runId, record);
  }
  // Tokens that no event names may be those of a run that could not be prepared. A later run of the same text finds them.
  for (const digest of await rememberedTokens(context.artifacts))
    if (!named.has(digest)) named.set(digest, { what: 'tokens that a later run may find', needers: [], fits: () => Promise.resolve(true) });
  for await (const verdict of artifactVerdicts(context, named, summary, say, signal)) yield ofRun('', verdict);
  const problems = summary.problems.length;
  const detail = summary.ok ? 'everything is as recorded' : counted(problems, 'problem');
  yield { runId: '', check: 'summary', subject: 'the store', ok: summary.ok, detail, doneShare: 1, summary };
}

/**
 * Checks the file from which lists and queries are answered. A damaged file is rebuilt, but still counts as a problem, because the disk
 * changed it.
 */
async function* viewsVerdicts({ views }: Context, say: MakeVerdict, signal: AbortSignal): AsyncGenerator<v1.VerifyRunResponse> {
  const subject = 'the file of read models';
  let problem: string | null;
  try {
    problem = await views.problemInFile();
  } catch (error) {
    yield say('views', subject, false, `it could not be checked: ${(error as Error).message}`, 0);
    return; // events and artifacts are checked all the same
  }
  if (problem === null) yield say('views', subject, true, 'every row is as it was written', 0);
  else yield say('views', subject, false, `${problem}; it is being rebuilt from the events`, 0);
  if (problem !== null) await views.startAnew(new ViewsDamagedError(problem));
  for (;;) {
    signal.throwIfAborted();
    try {
      await views.ready();
      return;
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'VIEW_LAGGING') throw error;
      yield say('views', subject, true, 'the events are read', 0); // the call must not seem to stand still
      await sleep(RETRY_MS);
    }
  }
}

function knownRuns({ views }: Context): string[] {
  return views.database.prepare<[], string>('SELECT run_id FROM runs').pluck().all();
}

const verdictOf: MakeVerdict = (check, subject, ok, detail, doneShare) => ({
  ...{ check, subject, ok, detail, doneShare },
  ...{ summary: undefined, notChecked: false },
});

interface CheckedRun {
  runId: string;
  record: CheckedRecord;
  verdicts: v1.VerifyRunResponse[];
}

async function checkedRun(context: Context, runId: string, signal: AbortSignal): Promise<CheckedRun> {
  const record: CheckedRecord = { planner: new ReplayPlanner(), history: new HistoryChecker(runId), events: 0, metricsBatches: 0 };
  const verdicts: v1.VerifyRunResponse[] = [];
  for await (const verdict of recordVerdicts(context, runId, record, verdictOf, 0, signal))
    // The event that kept a check from being made has a verdict of its own.
    if (!verdict.notChecked) verdicts.push(verdict);
  return { runId, record, verdicts };
}

/**
 * Yields the results in the order of the items. Several items are worked on at once, since most of the time goes into waiting for the
 * store.
 */
async function* inOrder<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const begun: Promise<Result>[] = [];
  for (const item of items) {
    const result = work(item);
    result.catch(() => undefined); // the error is thrown when the item's turn comes
    begun.push(result);
    if (begun.length >= atOnce) yield await begun.shift()!;
  }
  for (const result of begun) yield await result;
}

/** Adds the artifacts that a run names. An artifact that any run needs must exist, even if other runs excuse it. */
function addNames(named: Map<string, Named>, { artifacts }: Context, runId: string, { history, planner }: CheckedRecord): void {
  for (const [digest, what] of artifactsNamed({ history, planner })) {
    const needers = excuseOf(planner.run, digest, what) === null ? [runId] : [];
    const known = named.get(digest);
    if (known !== undefined && (known.needers.length > 0 || needers.length === 0)) {
      known.needers.push(...needers);
      continue;
    }
    const fits = what === 'export' ? () => manifestFits(artifacts, digest, history) : () => Promise.resolve(true);
    named.set(digest, { what, needers, fits });
  }
  for (const digest of (planner.run?.evaluations ?? []).flatMap(artifactOf)) {
    if (!named.has(digest)) named.set(digest, { what: 'tokens', needers: [], fits: () => Promise.resolve(true) });
  }
}

async function* artifactVerdicts(
  { artifacts, store }: Context,
  named: ReadonlyMap<string, Named>,
  summary: v1.VerifyAllSummary,
  say: MakeVerdict,
  signal: AbortSignal,
): AsyncGenerator<v1.VerifyRunResponse> {
  const entries: ArtifactEntry[] = [];
  yield* quarantineVerdicts(artifacts, named, summary, say);
  for await (const entry of artifacts.list()) entries.push(entry);
  const totalBytes = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  const present = new Set<string>();
  let bytesDone = 0;
  for (const { digest, bytes } of entries) {
    signal.throwIfAborted();
    const condition = await artifacts.verify(digest);
    bytesDone += bytes;
    const at = STORE_SHARE + RUNS_SHARE + ((1 - STORE_SHARE - RUNS_SHARE) * bytesDone) / Math.max(totalBytes, 1);
    if (condition === 'missing') continue; // the artifact was removed in the meantime
    present.add(digest);
    summary.artifacts += 1n;
    summary.artifactBytes += BigInt(bytes);
    const known = named.get(digest) ?? (await keptTable(artifacts, digest, bytes));
    const subject = `artifact ${digest}`;
    if (condition === 'corrupt') yield say('artifacts', subject, false, `${known?.what ?? 'unknown'}: its bytes have another digest`, at);
    else if (known !== undefined && !(await known.fits()))
      yield say('artifacts', subject, false, 'its manifest names other files than the event', at);
    else yield say('artifacts', subject, true, `${known?.what ?? 'unknown'}: whole`, at);
    if (known !== undefined) continue;
    summary.unknown.push(digest);
    yield say('unknown', subject, true, `${byteWords(bytes)} that no event names`, at);
  }
  const meanwhile = runsMeanwhile(store, signal);
  for (const [digest, { what, needers }] of named) {
    if (present.has(digest) || needers.length === 0 || (await artifacts.stat(digest)) !== null) continue;
    for (const runId of needers) {
      if (excuseOf(await meanwhile.now(runId), digest, what) !== null) continue;
      yield say('artifacts', `artifact ${digest}`, false, `${what} of run ${runId}: not in the store`, 1);
      break; // one run that needs it is enough for the report
    }
  }
  for await (const path of artifacts.unknownFiles()) {
    summary.unknown.push(path);
    yield say('unknown', path, true, 'a file that is not an artifact', 1);
  }
}

/** A measured speed table that no run has yet. A launch may name it, and only its own text says that it is a speed table. */
async function keptTable(artifacts: ArtifactStore, digest: string, bytes: number): Promise<Pick<Named, 'what' | 'fits'> | undefined> {
  if (bytes > TABLE_BYTES_MAX) return undefined;
  const content = await artifacts.get(digest).catch(() => null);
  if (content === null || !isSpeedTable(Buffer.from(content).toString('utf8'))) return undefined;
  return { what: 'speed table that a later run may name', fits: () => Promise.resolve(true) };
}

/** Checks the quarantine. An artifact that an event needs is taken back from it, and then checked as all others are. */
async function* quarantineVerdicts(
  { quarantine, incoming }: Pick<ArtifactStore, 'quarantine' | 'incoming'>,
  named: ReadonlyMap<string, Named>,
  summary: v1.VerifyAllSummary,
  say: MakeVerdict,
): AsyncGenerator<v1.VerifyRunResponse> {
  for await (const { digest, bytes, storedAt } of quarantine.list()) {
    if ((named.get(digest)?.needers.length ?? 0) > 0) {
      await quarantine.giveBack(digest);
      continue;
    }
    summary.quarantined += 1n;
    summary.quarantinedBytes += BigInt(bytes);
    const day = storedAt.toISOString().slice(0, 10);
    yield say(
      'quarantine',
      `artifact ${digest}`,
      true,
      `${byteWords(bytes)} that no event needs, set aside on ${day}`,
      STORE_SHARE + RUNS_SHARE,
    );
  }
  for await (const { name, bytes, isInUse } of incoming.list())
    if (!isInUse) yield say('incoming', name, true, `${byteWords(bytes)} that never became an artifact`, STORE_SHARE + RUNS_SHARE);
}

/** Reads every event of every stream in the order of the store. */
class StoreReader {
  events = 0;
  readonly runIds = new Set<string>();
  readonly studies = new StudyRecords();
  private readonly heads = new Map<string, bigint>();

  constructor(
    private readonly store: EventStore,
    private readonly signal: AbortSignal,
  ) {}

  async *verdicts(say: MakeVerdict): AsyncGenerator<v1.VerifyRunResponse> {
    let problems = 0;
    const end = Number((await endOf(this.store))?.commit ?? 1n);
    for await (const item of this.items()) {
      this.signal.throwIfAborted();
      this.events += 1;
      if (this.events % EVENTS_PER_VERDICT === 0) {
        const share = Math.min(1, Number(item.position.commit) / end);
        yield say('store', 'the event store', true, `${counted(this.events, 'event')} read`, STORE_SHARE * share);
      }
      const stream = item.stream;
      if (stream.startsWith(RUN_STREAM_PREFIX)) this.runIds.add(runIdOf(item));
      const problem = item instanceof EventCorruptError ? item.message : this.misplaced(item);
      this.heads.set(stream, item.revision);
      const check = checkOf(stream);
      const ofRecord = check === null ? null : this.recordProblem(item);
      if (check !== null && ofRecord !== null)
        yield say(check, `stream ${stream} revision ${item.revision}`, false, ofRecord, STORE_SHARE / 2);
      if (problem === null) continue;
      problems += 1;
      yield say('store', `stream ${stream} revision ${item.revision}`, false, problem, STORE_SHARE / 2);
    }
    for (const { subject, detail } of this.studies.strayRuns(this.runIds)) yield say('studies', subject, false, detail, STORE_SHARE);
    if (problems === 0)
      yield say(
        'store',
        'the event store',
        true,
        `${counted(this.events, 'event')} of ${counted(this.heads.size, 'stream')}, each where it belongs`,
        STORE_SHARE,
      );
  }

  private recordProblem(item: StoredEvent | EventCorruptError): string | null {
    if (!(item instanceof EventCorruptError)) return this.studies.problem(item);
    this.studies.unreadable(item.stream);
    return null; // a problem of the store is reported as one
  }

  /** Reports a gap in a stream. Old events at its beginning may have been removed, but none in its middle. */
  private misplaced({ stream, revision }: StoredEvent): string | null {
    const head = this.heads.get(stream);
    return head === undefined || revision === head + 1n ? null : `revision ${head + 1n} was expected`;
  }

  private async *items(): AsyncGenerator<StoredEvent | EventCorruptError> {
    for (let after: Position | undefined; ;) {
      let damage: EventCorruptError | undefined;
      try {
        for await (const event of this.store.readAll(after === undefined ? {} : { after })) {
          after = event.position;
          yield event;
        }
      } catch (error) {
        if (!(error instanceof EventCorruptError)) throw error;
        damage = error;
      }
      if (damage === undefined) return;
      after = damage.position;
      yield damage;
    }
  }
}
