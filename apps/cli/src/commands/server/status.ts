// The command status: server, store, engines, disk and runs at a glance. It works also when nothing runs.
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { ROOM_BYTES } from '#files';
import { toEspalierError, v1 } from '#protocol';
import { ExitCode, exitCodeOf } from '../../cli-error.js';
import { announcement, isSameServer } from '../../connection/server-address.js';
import type { Context } from '../../command-context.js';
import { bytes, howMany, percent, statusWord } from '../../output/format.js';
import { EVALUATING, isEvaluating, stepsInAll } from '../../output/run-status.js';
import { runningServer } from '../../local-server/stack.js';
import type { Output } from '../../output/output.js';
import { action, examples } from '../command.js';
import { engineStatusWord, fleetLine, fleetProblems, plainEngine } from './engines.js';
import { storeState } from './store-problems.js';

const ANSWER_TIMEOUT_MS = 5_000;
const SHOWN_RUNS = 500;

interface Status {
  server: {
    running: boolean;
    answers: boolean;
    /** Null where the address is unknown. */
    listen: string | null;
    pid: number | null;
    /** Null: the server belongs to another data folder. */
    dataFolder: string | null;
    problem: string | null;
  };
  /** Null: this data folder has no embedded store, or the server is another data folder's. */
  store: { open: boolean; events: number; streams: number; bytes: number; lastEventAt: string | null; problem: string | null } | null;
  /** Null: no server says where its artifacts are. */
  artifacts: { place: string; problem: string | null } | null;
  /** Whether any engine answers; null where no server answers. */
  engine: { running: boolean } | null;
  engines: v1.Engine[] | null;
  /** Null: the server has no fleet, or does not answer. */
  fleet: v1.Fleet | null;
  disk: { freeBytes: number; totalBytes: number } | null;
  /** Null where no server answers. */
  runs: {
    total: number;
    byStatus: Record<string, number>;
    active: { runId: string; name: string; status: string; waitsFor: string | null; step: number; totalSteps: number }[];
  } | null;
}

export function registerStatus(program: Command): void {
  const status = program
    .command('status')
    .summary('server, store, engines, disk and runs at a glance')
    .description(
      'Says whether the server runs and answers, and how its store, engines, disk and runs are; works when nothing runs. Exit code 0 ' +
        'when the server answers, 1 when it runs and does not answer or something is damaged, 4 when none runs, none answers at ' +
        "--server, or the data folder is another user's.",
    )
    .option('--probe', 'only ask whether the server answers, by one small call that needs no token: for health checks')
    .addHelpText('after', PROBE_HELP);
  examples(status, ['espalier status'], ['espalier status --json | jq .runs.by_status'], ['espalier status --probe']);
  action<{ probe?: boolean }>(
    status,
    async (context, _, { probe = false }) => {
      if (probe) return printProbe(context);
      const found = await statusOf(context);
      context.output.result({ ...found, engines: found.engines?.map(plainEngine) ?? null }, () => printStatus(context, found));
      if (!found.server.running && !found.server.answers) return ExitCode.unavailable;
      const damaged = (found.runs?.byStatus['damaged'] ?? 0) > 0 || (found.store !== null && found.store.problem !== null);
      return found.server.answers && !damaged ? ExitCode.ok : ExitCode.failed;
    },
    { isVerdict: true },
  );
}

const PROBE_HELP = `
With --probe the exit code is 0 when the server answers, also while it can
record nothing: a new start would not help then. It is 4 when no server
answers within ${ANSWER_TIMEOUT_MS / 1_000} seconds.`;

async function printProbe({ connection, output }: Context): Promise<number> {
  const serving = await connection.isServing(ANSWER_TIMEOUT_MS);
  const { address } = connection.server;
  output.result({ answers: true, serving }, () =>
    output.line(serving ? `answers at ${address}` : `answers at ${address}, and can record nothing now: see espalier status`),
  );
  return ExitCode.ok;
}

async function statusOf(context: Context): Promise<Status> {
  const { dataFolder } = context;
  const { found: server, problem: unknown } = attempt(() => context.findServer());
  const [{ runs, problem }, listed] =
    server === null ? [{ runs: null, problem: unknown }, null] : await Promise.all([runsOf(context), enginesOf(context)]);
  const answers = runs !== null;
  const engines = listed?.engines ?? null;
  const fleet = listed?.fleet ?? null;
  const { found: running, problem: hidden } = attempt(() => runningServer(dataFolder));
  const listen = server?.address ?? null;
  // The data folder only knows its own server.
  const isElsewhere = server?.origin === 'named' && (running === null || !isSameServer(server.address, running.listen));
  if (isElsewhere || hidden !== null) {
    const told = { running: false, answers, listen, pid: null, dataFolder: isElsewhere ? null : dataFolder, problem: problem ?? hidden };
    return { server: told, store: null, artifacts: null, engine: engineOf(engines), engines, fleet, disk: null, runs };
  }
  const state = answers ? await storeState(context.connection, ANSWER_TIMEOUT_MS).catch(() => null) : null;
  return {
    server: { running: running !== null, answers, listen, pid: running?.pid ?? null, dataFolder, problem },
    store: await storeOf(dataFolder, state?.missing == null ? null : `EVENTS_MISSING: ${state.missing}`),
    artifacts: state === null || state.artifacts === '' ? null : { place: state.artifacts, problem: state.artifactProblem },
    engine: engineOf(engines),
    engines,
    fleet,
    disk: await diskOf(dataFolder),
    runs,
  };
}

function attempt<T>(look: () => T): { found: T | null; problem: string | null } {
  try {
    return { found: look(), problem: null };
  } catch (error) {
    if (exitCodeOf(error) === ExitCode.usage) throw error;
    return { found: null, problem: problemOf(error) };
  }
}

function problemOf(error: unknown): string {
  const { code, message } = toEspalierError(error);
  return `${code}: ${message}`;
}

async function runsOf({ connection }: Context): Promise<{ runs: Status['runs']; problem: string | null }> {
  try {
    const request = v1.ListRunsRequest.fromPartial({ pageSize: SHOWN_RUNS, orderBy: 'updated_at desc' });
    const byStatus: Record<string, number> = {};
    const active: NonNullable<Status['runs']>['active'] = [];
    let total = 0;
    do {
      const page = await connection.call(connection.runs, connection.runs.listRuns, request, ANSWER_TIMEOUT_MS);
      for (const run of page.runs) {
        const status = statusWord(run.status);
        byStatus[status] = (byStatus[status] ?? 0) + 1;
        if (!ENDED.includes(run.status))
          active.push({
            runId: run.runId,
            name: run.name,
            status: isEvaluating(run) ? EVALUATING : status,
            waitsFor: run.waitingFor?.code ?? null,
            step: Number(run.step),
            totalSteps: stepsInAll(run) ?? 0,
          });
      }
      total = page.total;
      request.pageToken = page.nextPageToken;
    } while (request.pageToken !== '');
    return { runs: { total, byStatus, active }, problem: null };
  } catch (error) {
    return { runs: null, problem: problemOf(error) };
  }
}

const { ENGINE_STATUS_IDLE, ENGINE_STATUS_BUSY, ENGINE_STATUS_UNREACHABLE, ENGINE_STATUS_NOT_RESPONDING } = v1.EngineStatus;
const RUNNING = [ENGINE_STATUS_IDLE, ENGINE_STATUS_BUSY];

function engineOf(engines: v1.Engine[] | null): Status['engine'] {
  return engines === null ? null : { running: engines.some(({ status }) => RUNNING.includes(status)) };
}

function engineLine(output: Output, { name, status, runId }: v1.Engine): string {
  const word = engineStatusWord(status);
  const bad = status === ENGINE_STATUS_UNREACHABLE || status === ENGINE_STATUS_NOT_RESPONDING;
  const shown = bad ? output.style('red', word) : RUNNING.includes(status) ? output.style('green', word) : word;
  return `${name} ${shown}${runId && ` with ${runId}`}`;
}

const { RUN_STATUS_COMPLETED, RUN_STATUS_FAILED, RUN_STATUS_CANCELLED, RUN_STATUS_DAMAGED } = v1.RunStatus;
const ENDED = [RUN_STATUS_COMPLETED, RUN_STATUS_FAILED, RUN_STATUS_CANCELLED, RUN_STATUS_DAMAGED];

const UNKNOWN_STORE = { open: false, events: 0, streams: 0, bytes: 0, lastEventAt: null };

async function storeOf(dataFolder: string, missing: string | null): Promise<Status['store']> {
  const folder = join(dataFolder, 'event-store');
  if (!existsSync(folder)) return missing === null ? null : { ...UNKNOWN_STORE, problem: missing };
  const { embeddedEventStoreStats } = await import('#event-store'); // loaded only when needed
  try {
    const { isOpen, events, streams, databaseBytes, walBytes, lastEventAt } = embeddedEventStoreStats({ folder });
    return { open: isOpen, events, streams, bytes: databaseBytes + walBytes, lastEventAt: lastEventAt ?? null, problem: missing };
  } catch (error) {
    return { ...UNKNOWN_STORE, problem: problemOf(error) };
  }
}

async function enginesOf({ connection }: Context): Promise<v1.ListEnginesResponse | null> {
  try {
    return await connection.call(connection.engines, connection.engines.listEngines, {}, ANSWER_TIMEOUT_MS);
  } catch {
    return null; // the error of reading the runs says why
  }
}

async function diskOf(dataFolder: string): Promise<Status['disk']> {
  let folder = dataFolder;
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
  try {
    const { bavail, blocks, bsize } = await statfs(folder);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return null;
  }
}

function notRunning({ listen, dataFolder, problem }: Status['server']): string {
  if (dataFolder === null) return `does not answer at ${listen}: ${problem}`;
  if (problem?.startsWith('DATA_FOLDER_UNREADABLE')) return problem;
  // The server is starting, or a copied folder names it: the problem says more.
  if (listen === null && announcement(dataFolder) !== null) return problem ?? 'not running';
  return 'not running; start it with: espalier up --detach';
}

/** Describes the place of the artifacts; undefined where they are in the data folder and all is well. */
function artifactLine({ dataFolder }: Status['server'], artifacts: Status['artifacts'], bad: (text: string) => string): string | undefined {
  if (artifacts === null) return undefined;
  if (artifacts.problem !== null) return bad(`${artifacts.place}: ${artifacts.problem}`);
  return dataFolder !== null && dirname(artifacts.place) === dataFolder ? undefined : artifacts.place;
}

function printStatus({ output }: Context, { server, store, artifacts, engines, fleet, disk, runs }: Status): void {
  const good = (text: string) => output.style('green', text);
  const bad = (text: string) => output.style('red', text);
  const process = server.pid === null ? '' : `, process ${server.pid}`;
  output.pairs([
    [
      'server',
      server.answers
        ? `${good('answers')} at ${server.listen}${process}`
        : server.running
          ? `${bad('does not answer')} at ${server.listen}${process}: ${server.problem}`
          : notRunning(server),
    ],
    ['data folder', server.dataFolder ?? undefined],
    [
      'event store',
      store === null
        ? disk === null
          ? undefined
          : 'no embedded one here'
        : store.problem !== null
          ? bad(store.problem)
          : `${store.open ? 'in use' : 'closed'}, ${howMany(store.events, 'event')} in ${howMany(store.streams, 'stream')}, ` +
            bytes(store.bytes),
    ],
    ['artifacts', artifactLine(server, artifacts, bad)],
    ['engines', engines?.map((engine) => engineLine(output, engine)).join('; ')],
    ['fleet', fleet === null ? undefined : [`${fleet.name}: ${fleetLine(fleet)}`, ...fleetProblems(fleet)].join('; ')],
    [
      'disk',
      disk === null
        ? undefined
        : `${bytes(disk.freeBytes)} free of ${bytes(disk.totalBytes)} (${percent(disk.freeBytes / disk.totalBytes, 0)})` +
          (disk.freeBytes < ROOM_BYTES ? bad(', too little for commands that record something (STORAGE_FULL)') : ''),
    ],
    [
      'runs',
      runs === null
        ? undefined
        : runs.total === 0
          ? 'none'
          : Object.entries(runs.byStatus)
              .map(([status, number]) => `${number} ${status}`)
              .join(', '),
    ],
  ]);
  if (runs === null || runs.active.length === 0) return;
  output.line();
  output.table(
    ['RUN', 'NAME', 'STATUS', 'STEP'],
    runs.active.map(({ runId, name, status, waitsFor, step, totalSteps }) => [
      runId,
      name,
      waitsFor === null ? status : `${status}, ${waitsFor}`,
      `${step}/${totalSteps}`,
    ]),
    [3],
    { NAME: 'cut' },
  );
}
