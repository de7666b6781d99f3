// A fleet of a Slurm cluster, by its commands. squeue lists the jobs, sbatch takes a job's script on its standard input, and scancel ends
// jobs. No shell is involved. A job has its fleet's mark in its comment, so a server finds its jobs again and touches no other.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { EspalierError, type ErrorCode } from '#protocol';
import type { JobKind, SlurmSettings } from './fleet-settings.js';
import type { JobFact, JobFinder, JobHost, JobStage } from './job-host.js';
import { lastLineIn } from './job-logs.js';
import { ownerOf, type JobMark } from './job-mark.js';

/** The limit of a call. Slurm's commands would wait longer for a controller that does not answer. */
const CALL_TIMEOUT_MS = 20_000;
const OUTPUT_BYTES_MAX = 16 << 20;
const MESSAGE_CHARACTERS_MAX = 500;
/** sbatch retries for minutes when the queue is full. The fleet has pauses of its own, so this message ends the call. */
const KEEPS_TRYING = /sleeping and retrying/i;
const UNREACHABLE =
  /unable to contact|connection refused|timed out|zero bytes were transmitted|authentication|munge|communication|not responding/i;
/** The variables that jobs get: those that their programs need, so that no secret of the server's environment reaches a job. */
const ENVIRONMENT = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LC_ALL', 'TZ', 'SLURM_CONF'];

const WAITING = new Set([
  'PENDING',
  'CONFIGURING',
  'REQUEUED',
  'REQUEUE_FED',
  'REQUEUE_HOLD',
  'RESV_DEL_HOLD',
  'SPECIAL_EXIT',
  'POWER_UP_NODE',
]);
const RUNNING = new Set(['RUNNING', 'SUSPENDED', 'STOPPED', 'RESIZING', 'SIGNALING']);
const ENDING = new Set(['COMPLETING', 'STAGE_OUT', 'EXPEDITING', 'UPDATE_DB']);

/** The settings with which a job of one kind is asked for. */
export interface SlurmJob {
  mark: JobMark;
  /** The digest of all settings that a job is asked for with. */
  specId: string;
  settings: SlurmSettings;
  wishes: Pick<JobKind, 'cpus' | 'cards' | 'memoryGb'>;
  /** The folder for the output of jobs. */
  logs: string;
  commandOf: (engine: string) => string[];
}

export class SlurmHost implements JobHost {
  /** @param jobFor the settings with which a job for the engine of this name is asked for */
  constructor(
    private readonly finder: JobFinder,
    private readonly logs: string,
    private readonly jobFor: (engine: string) => SlurmJob,
  ) {}

  async look(): Promise<JobFact[]> {
    const out = await slurm('squeue', ['--me', '--states=all', '--format=%i|%T|%r|%N|%k'], 'FLEET_UNREACHABLE');
    return jobsIn(out, this.finder);
  }

  async submit(engine: string, account: string): Promise<string> {
    const job = this.jobFor(engine);
    const out = await slurm('sbatch', sbatchArguments(job, engine, account), 'FLEET_JOB_REFUSED', jobScript(job.commandOf(engine)));
    const id = out.trim().split(';', 1).join(''); // the name of a cluster may follow
    if (!/^\d+$/.test(id)) throw noAnswer('sbatch', out, "a job's id");
    return id;
  }

  async cancel(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await slurm('scancel', ['--quiet', ...ids], 'FLEET_UNREACHABLE');
  }

  logOf({ id, engine }: Pick<JobFact, 'id' | 'engine'>): string {
    return join(this.logs, `${engine}-${id}.log`);
  }

  lastLineOf(job: Pick<JobFact, 'id' | 'engine'>): string {
    return lastLineIn(this.logOf(job));
  }
}

export function sbatchArguments({ mark, specId, settings, wishes, logs }: SlurmJob, engine: string, account: string): string[] {
  const { partitions, timeLimitMinutes, warningSeconds } = settings;
  // The account of a caller stands in place of the one that the file names for all others.
  const options = settings.options.filter((option) => account === '' || !option.startsWith('--account='));
  const { cpus, cards, memoryGb } = wishes;
  const asked: [string, string | number | null][] = [
    ['job-name', `espalier-${engine}`],
    ['comment', commentOf(mark, specId, engine, account)],
    ['account', account || null],
    ['output', join(logs, `${engine}-%j.log`).replaceAll(/%(?!j\.log$)/g, '%%')],
    ['nodes', 1],
    ['ntasks', 1],
    ['cpus-per-task', cpus],
    ['partition', partitions.length === 0 ? null : partitions.join(',')],
    ['gres', cards && ['gpu', ...(cards.type === null ? [] : [cards.type]), cards.count].join(':')],
    ['mem', memoryGb === null ? null : `${memoryGb}G`],
    ['time', timeLimitMinutes],
    // The engine is told to end early enough to hand in its segment.
    ['signal', timeLimitMinutes === null ? null : `B:TERM@${warningSeconds}`],
  ];
  // A job that Slurm put back into its queue would be an engine that no run asked for.
  const words = asked.flatMap(([option, value]) => (value === null ? [] : [`--${option}=${value}`]));
  return ['--parsable', '--no-requeue', ...words, ...options];
}

/** The script of a job. The engine replaces the shell, so that Slurm's signals reach the engine. */
export function jobScript(words: readonly string[]): string {
  return `#!/bin/sh\numask 077\nexec ${words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')}\n`;
}

function commentOf({ fleetId, folderId, addressId }: JobMark, specId: string, engine: string, account: string): string {
  return ['espalier', fleetId, specId, engine, folderId, addressId, ...(account === '' ? [] : [account])].join(':');
}

/**
 * Reads the list of squeue. squeue prints its header even where there is no job, so an empty answer is no list.
 * @throws EspalierError FLEET_UNREACHABLE where the answer is no list of jobs
 */
export function jobsIn(out: string, finder: JobFinder): JobFact[] {
  const [header = '', ...lines] = out.split('\n');
  if (!/^JOBID\|STATE\|/.test(header) || !out.endsWith('\n')) throw noAnswer('squeue', out, 'a list of jobs');
  // The comment of another program's job may have several lines. Ours has one.
  let mayGoOn = false;
  return lines.slice(0, -1).flatMap((line) => {
    const isJob = /^\d[^|]*\|[A-Z_]+\|/.test(line);
    if (!isJob && !mayGoOn) throw noAnswer('squeue', line, 'a list of jobs');
    const found = isJob ? jobOf(line, finder) : [];
    mayGoOn = (isJob || mayGoOn) && found.length === 0;
    return found;
  });
}

/** Reads a line of squeue. Returns an empty list for a job that is neither the fleet's nor a stray. */
export function jobOf(line: string, { mark, specIdOf }: JobFinder): JobFact[] {
  const [id = '', state = '', reason = '', node = '', comment = ''] = line.split('|');
  const [word, fleetId, spec, engine, folderId, addressId, account = ''] = comment.trim().split(':');
  if (word !== 'espalier' || spec === undefined || engine === undefined || !/^\d+$/.test(id)) return [];
  const owner = ownerOf(mark, { fleetId, folderId, addressId });
  if (owner === 'elsewhere') return [];
  const isOutdated = spec !== specIdOf(engine);
  return [{ id, engine, stage: stageOf(state), state, reason: reason === 'None' ? '' : reason, node, isOutdated, owner, account }];
}

function noAnswer(program: string, said: string, what: string): EspalierError {
  const shown = said.trim() === '' ? 'nothing' : JSON.stringify(said.trim().slice(0, 60));
  return new EspalierError('FLEET_UNREACHABLE', `${program}: it answered ${shown}, and not ${what}`);
}

/** The stage of a job by its state. All states without a name here count as ends, since a later release may have more of them. */
function stageOf(state: string): JobStage {
  if (WAITING.has(state)) return 'waiting';
  if (RUNNING.has(state)) return 'running';
  return ENDING.has(state) ? 'ending' : 'over';
}

function slurm(program: string, args: readonly string[], code: ErrorCode, input = ''): Promise<string> {
  const env = Object.fromEntries(ENVIRONMENT.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])));
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      { env, timeout: CALL_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: OUTPUT_BYTES_MAX, encoding: 'utf8' },
      (error, out, errors) => {
        if (error === null) return resolve(out);
        reject(slurmError(program, error, errors, code));
      },
    );
    let said = '';
    child.stderr?.on('data', (text: string) => {
      said += text;
      if (KEEPS_TRYING.test(said)) child.kill('SIGKILL');
    });
    child.stdin?.on('error', () => undefined); // the end of the program tells the error
    child.stdin?.end(input);
  });
}

function slurmError(program: string, error: Error & { code?: unknown; killed?: boolean }, errors: string, code: ErrorCode): EspalierError {
  if (error.code === 'ENOENT')
    return new EspalierError('FLEET_UNREACHABLE', `${program} is missing: Slurm's commands have to be in the PATH`);
  // Slurm's own words, without the name of the program before each line.
  const said = errors
    .split('\n')
    .map((line) => line.replace(/^\w+: (error: |fatal: )?/, '').trim())
    .filter(Boolean);
  const words = said.slice(-2).join('; ').slice(0, MESSAGE_CHARACTERS_MAX);
  const why = words !== '' ? words : error.killed === true ? `no answer within ${CALL_TIMEOUT_MS / 1_000} s` : error.message;
  const isUnreachable = UNREACHABLE.test(why) || (words === '' && error.killed === true);
  return new EspalierError(isUnreachable ? 'FLEET_UNREACHABLE' : code, `${program}: ${why}`, { cause: error });
}
