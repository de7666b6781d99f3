// A fleet of this machine. Each job is a process that ends with the server, so a server that is killed leaves no process behind.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { asOwnerOnly } from '#files';
import { EspalierError } from '#protocol';
import { lastLineIn } from './job-logs.js';
import type { JobFact, JobHost } from './job-host.js';

/** The time for which processes that have ended are still listed. */
const KEPT_MS = 60_000;

interface Process {
  child: ChildProcess;
  engine: string;
  id: string;
  state: string;
  reason: string;
  endedAtMs: number | null;
}

export class LocalHost implements JobHost {
  private readonly processes = new Map<string, Process>();

  constructor(
    /** The command for later jobs. */
    public commandOf: (engine: string) => string[],
    private readonly logs: string,
  ) {}

  look(): Promise<JobFact[]> {
    const now = performance.now();
    for (const [id, { endedAtMs }] of this.processes) if (endedAtMs !== null && now - endedAtMs > KEPT_MS) this.processes.delete(id);
    return Promise.resolve(
      [...this.processes.values()].map(({ id, engine, state, reason, endedAtMs }) => {
        const stage = endedAtMs === null ? 'running' : 'over';
        return { id, engine, stage, state, reason, node: '', isOutdated: false, owner: 'fleet', account: '' } as const;
      }),
    );
  }

  async submit(engine: string): Promise<string> {
    const [program = '', ...args] = this.commandOf(engine);
    const log = asOwnerOnly(() => openSync(this.logOf({ engine }), 'a'));
    const child = spawn(program, [...args, '--exit-with-stdin'], { stdio: ['pipe', log, log] });
    closeSync(log);
    child.stdin?.on('error', () => undefined);
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => reject(new EspalierError('FLEET_JOB_REFUSED', `${program} can't be started: ${error.message}`)));
    });
    const one: Process = { child, engine, id: String(child.pid), state: 'RUNNING', reason: '', endedAtMs: null };
    this.processes.set(one.id, one);
    child.once('exit', (code, signal) => {
      Object.assign(one, { endedAtMs: performance.now(), state: code === 0 ? 'COMPLETED' : 'FAILED' });
      if (code !== 0) one.reason = signal ?? `exit code ${code}`;
    });
    return one.id;
  }

  cancel(ids: readonly string[]): Promise<void> {
    for (const id of ids) this.processes.get(id)?.child.kill('SIGTERM');
    return Promise.resolve();
  }

  logOf({ engine }: Pick<JobFact, 'engine'>): string {
    return join(this.logs, `${engine}.log`);
  }

  lastLineOf(job: Pick<JobFact, 'engine'>): string {
    return lastLineIn(this.logOf(job));
  }
}
