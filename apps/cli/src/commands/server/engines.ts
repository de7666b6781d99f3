// The engines of the server and what they do.
import type { Command } from 'commander';
import { v1 } from '#protocol';
import type { Context } from '../../command-context.js';
import { bytes, enumWord, howMany, when } from '../../output/format.js';
import type { Style } from '../../output/terminal.js';
import { action, examples } from '../command.js';

const SHOWN_ID = 12;

export function registerEngines(program: Command): void {
  const engines = program
    .command('engines')
    .summary('list the engines and their work')
    .description(
      'Lists the engines that the server works with: their device and memory, whether they are well, and what they do now. Those named ' +
        'local-N are its own, the others were named with: espalier up --engine ADDRESS, or joined with: espalier engine --join. ' +
        'With up --fleet it also lists the jobs of the fleet, and why one waits or has ended.',
    );
  examples(engines, ['espalier engines'], ['espalier engines --json | jq ".engines[] | {name, status, run_id}"']);
  action(engines, async (context) => {
    const { connection, output } = context;
    const list = await connection.call(connection.engines, connection.engines.listEngines, {});
    const { fleet } = list;
    output.result({ engines: list.engines.map(plainEngine), ...(fleet === undefined ? {} : { fleet }) }, () => {
      printEngines(context, list.engines);
      if (list.engines.length > 0 && fleet !== undefined) context.output.line();
      if (fleet !== undefined) printFleet(context, fleet);
    });
  });
}

/** Returns an engine for programs, with its status as a word. */
export function plainEngine(engine: v1.Engine): Omit<v1.Engine, 'status'> & { status: string } {
  return { ...engine, status: enumWord(v1.engineStatusToJSON(engine.status), 'ENGINE_STATUS_') };
}

function printEngines({ output }: Context, engines: v1.Engine[]): void {
  output.table(
    ['ENGINE', 'STATUS', 'RUN', 'DEVICE', 'THREADS', 'FREE', 'USED', 'SINCE'],
    engines.map((engine) => [
      engine.name,
      output.style(styleOf(engine.status), engineStatusWord(engine.status)),
      engine.runId.slice(0, SHOWN_ID),
      engine.backend === '' ? '' : `${engine.backend}: ${engine.device}`,
      engine.threads === 0 ? '' : String(engine.threads),
      engine.memoryAvailableBytes === 0n ? '' : bytes(engine.memoryAvailableBytes),
      engine.residentBytes === 0n ? '' : bytes(engine.residentBytes),
      when(engine.since),
    ]),
    [4, 5, 6],
    { ENGINE: 'wrap', DEVICE: 'cut', SINCE: 3, THREADS: 2, USED: 1 },
  );
  const notes = engines.map((engine) => [engine.name, noteOf(engine)] as const).filter(([, note]) => note !== '');
  if (notes.length === 0) return;
  output.line();
  for (const [name, note] of notes) output.text(`${name}: ${note}`);
}

export function printFleet({ output }: Pick<Context, 'output'>, fleet: v1.Fleet): void {
  output.text(`fleet ${fleet.name}: ${fleetLine(fleet)}`);
  const shown = [...fleet.jobs, ...fleet.strays, ...fleet.ended];
  if (shown.length > 0) {
    const hasAccounts = shown.some(({ account }) => account !== '');
    output.table(
      ['JOB', 'ENGINE', ...(hasAccounts ? ['ACCOUNT'] : []), 'STATE', 'REASON', 'NODE', 'JOINED'],
      shown.map(({ id, engine, account, state, reason, node, joined }) => [
        ...[id, engine, ...(hasAccounts ? [account] : [])],
        ...[state.toLowerCase(), reason, node, joined ? 'yes' : 'no'],
      ]),
    );
  }
  for (const line of fleetProblems(fleet)) output.text(line);
}

/** Returns a line like "2 jobs of at most 4 run, 1 waits (Resources)". */
export function fleetLine({ jobs, maxEngines, limit }: v1.Fleet): string {
  const waiting = jobs.filter(isWaiting);
  const reasons = [...new Set(waiting.map(({ reason }) => reason).filter(Boolean))];
  const running = jobs.length - waiting.length;
  const waits = waiting.length === 0 ? '' : `, ${waiting.length} ${waiting.length === 1 ? 'waits' : 'wait'}`;
  const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
  const most = limit?.drained === true ? '' : ` of at most ${maxEngines}`;
  return `${howMany(running, 'job')}${most} ${running === 1 ? 'runs' : 'run'}${waits}${why}`;
}

/** Says why runs wait, and why the cluster gives no job. */
export function fleetProblems({ problem, fileProblem, waitsFor, notBefore, limit, strays, strayEngines }: v1.Fleet): string[] {
  const next = notBefore === undefined ? '' : `; the next job is asked for ${when(notBefore)}`;
  const last = problem === undefined ? [] : [`last problem: ${problem.message} (${problem.code})${next}`];
  const waits = problem !== undefined || waitsFor === '' ? [] : [`runs wait: ${waitsFor}`];
  const file = fileProblem === undefined ? [] : [`its file does not hold: ${fileProblem.message} (${fileProblem.code})`];
  return [...limitWords(limit), ...strayWords(strays, strayEngines), ...last, ...file, ...waits];
}

function limitWords(limit: v1.FleetLimit | undefined): string[] {
  if (limit === undefined) return [];
  return [`${limit.drained ? 'drained' : 'scaled'} by ${limit.by} ${when(limit.at)}; its file says at most ${limit.inPlaceOf}`];
}

function strayWords(strays: readonly v1.FleetJob[], engines: readonly string[]): string[] {
  const jobs = strays.map(({ id }) => id).join(', ');
  return [
    ...(strays.length === 0 ? [] : [`take places, and are of an earlier name or place of the fleet: ${jobs} (espalier fleet cancel JOB)`]),
    ...(engines.length === 0 ? [] : [`take places, and are of no job that is listed: engines ${engines.join(', ')}`]),
  ];
}

const isWaiting = ({ state }: v1.FleetJob): boolean => state === 'PENDING' || state === 'CONFIGURING';

/** Returns facts for which the columns have no room. */
function noteOf(engine: v1.Engine): string {
  const { ENGINE_STATUS_ATTACHED_ELSEWHERE, ENGINE_STATUS_STANDBY } = v1.EngineStatus;
  const notes = [engine.doing];
  if (engine.joined !== undefined) notes.push(joinedWords(engine.joined));
  if (engine.waitingJobs > 0) notes.push(engine.waitingJobs === 1 ? '1 more waits for it' : `${engine.waitingJobs} more wait for it`);
  if (engine.heldBy !== '') {
    const left = Math.max(0, Math.round(((engine.heldUntil?.getTime() ?? 0) - Date.now()) / 1_000));
    notes.push(`belongs to the orchestrator in ${engine.heldBy}, for ${left} s more unless that renews its lease`);
  } else if (engine.problem !== undefined && engine.status !== ENGINE_STATUS_STANDBY) {
    notes.push(
      `${engine.status === ENGINE_STATUS_ATTACHED_ELSEWHERE ? '' : 'last problem: '}${engine.problem.message} (${engine.problem.code})`,
    );
  }
  if (engine.losses > 0) notes.push(`lost ${engine.losses === 1 ? 'once' : `${engine.losses} times`} since the server started`);
  return notes.filter((note) => note !== '').join('; ');
}

function joinedWords({ host, peer, since, admittedAs, connected, modelBytesHere, modelBytes }: v1.JoinedEngine): string {
  const share = `${Math.floor((100 * Number(modelBytesHere)) / Number(modelBytes))}% of ${bytes(modelBytes)}`;
  const receives = modelBytes === 0n ? '' : `receives the files of a model, ${share}; `;
  const how = connected ? 'joined' : 'was cut off; it had joined';
  return `${receives}${how} from ${host} (${peer}) ${when(since)}, let in as ${admittedAs}`;
}

export function engineStatusWord(status: v1.EngineStatus): string {
  return enumWord(v1.engineStatusToJSON(status), 'ENGINE_STATUS_').replaceAll('_', ' ');
}

function styleOf(status: v1.EngineStatus): Style {
  switch (status) {
    case v1.EngineStatus.ENGINE_STATUS_IDLE:
    case v1.EngineStatus.ENGINE_STATUS_BUSY:
      return 'green';
    case v1.EngineStatus.ENGINE_STATUS_NOT_RESPONDING:
    case v1.EngineStatus.ENGINE_STATUS_UNREACHABLE:
    case v1.EngineStatus.ENGINE_STATUS_ATTACHED_ELSEWHERE:
      return 'red';
    case v1.EngineStatus.ENGINE_STATUS_STARTING:
    case v1.EngineStatus.ENGINE_STATUS_RESTARTING:
      return 'yellow';
    default:
      return 'dim';
  }
}
