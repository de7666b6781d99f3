// A real Slurm of Debian's packages on this machine: munged, slurmctld and two slurmd with names of their own, in a temporary folder.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PROGRAMS = ['munged', 'slurmctld', 'slurmd', 'sbatch', 'squeue', 'scancel', 'sinfo', 'scontrol'];
const ACCOUNTING = ['slurmdbd', 'sacctmgr', 'mariadbd', 'mariadb', 'mariadb-install-db'];
const STARTS_WITHIN_MS = 60_000;
export const NODES = ['n1', 'n2'] as const;

/** The reason why there can be no Slurm on this machine, or null where there can. */
export function whyNoSlurm(): string | null {
  if (process.getuid?.() !== 0) return 'Slurm is not tested: its daemons need root here';
  const missing = missingOf(PROGRAMS);
  if (missing.length === 0) return null;
  return `Slurm is not tested: ${missing.join(', ')} missing; apt-get install munge slurmctld slurmd slurm-client`;
}

/** The reason why there can be no Slurm with accounts, or null where there can. */
export function whyNoAccounts(): string | null {
  const missing = missingOf(ACCOUNTING);
  if (missing.length === 0) return whyNoSlurm();
  return `accounts of Slurm are not tested: ${missing.join(', ')} missing; apt-get install slurmdbd mariadb-server`;
}

function missingOf(programs: readonly string[]): string[] {
  return programs.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
}

export class TestSlurm {
  private readonly daemons = new Map<string, ChildProcess>();

  private constructor(
    readonly folder: string,
    private readonly accountingPort: number | null,
  ) {}

  /** @param accounts those of the users root and daemon, by slurmdbd and a MariaDB of its own. Without them, Slurm takes any account */
  static async start(accounts: readonly string[] = []): Promise<TestSlurm> {
    const [accountingPort = null] = accounts.length === 0 ? [] : await freePorts(1);
    const slurm = new TestSlurm(mkdtempSync(join(tmpdir(), 'espalier-slurm-')), accountingPort);
    try {
      await slurm.startAll(accounts);
    } catch (error) {
      await slurm.stop();
      throw error;
    }
    return slurm;
  }

  private async startAll(accounts: readonly string[]): Promise<void> {
    chmodSync(this.folder, 0o755); // other users must reach munged
    const ports = await freePorts(3);
    writeFileSync(this.conf, this.configuration(ports));
    for (const name of ['state', 'munge', ...NODES]) mkdirSync(join(this.folder, name), { mode: 0o755 });
    writeFileSync(join(this.folder, 'munge/key'), randomBytes(128), { mode: 0o400 });
    this.daemon('munged', ['--foreground', '--force', ...['key', 'socket', 'pid', 'log', 'seed'].map((name) => this.mungeOption(name))]);
    await this.until(() => existsSync(join(this.folder, 'munge/socket')), 'munged');
    if (this.accountingPort !== null) await this.startAccounting(this.accountingPort, accounts);
    this.startController();
    for (const node of NODES) this.startNode(node);
    await this.isWhole();
  }

  get conf(): string {
    return join(this.folder, 'slurm.conf');
  }

  /** The environment in which a process reaches this Slurm. */
  get env(): Record<string, string> {
    return { SLURM_CONF: this.conf };
  }

  startController(): void {
    this.daemon('slurmctld', ['-D', '-f', this.conf]);
  }

  /**
   * Starts slurmdbd, and adds the accounts. The database is made before, because slurmdbd 24.11 that has to make it reads no answer of
   * MariaDB 11.8.9 on the same connection.
   */
  private async startAccounting(port: number, accounts: readonly string[]): Promise<void> {
    const [databasePort] = await freePorts(1);
    const password = randomBytes(16).toString('hex');
    const [data, init, log] = ['database', 'init.sql', 'slurmdbd.log'].map((name) => join(this.folder, name)) as [string, string, string];
    const usual = ['--no-defaults', '--user=root', `--datadir=${data}`, '--innodb-buffer-pool-size=16M'];
    const install = ['--auth-root-authentication-method=normal', '--skip-test-db'];
    execFileSync('mariadb-install-db', [...usual, ...install], { stdio: 'ignore' });
    const user = 'slurm@127.0.0.1';
    const lines = ['CREATE DATABASE slurm_acct_db;', `CREATE USER ${user} IDENTIFIED BY '${password}';`, `GRANT ALL ON *.* TO ${user};`];
    writeFileSync(init, `${lines.join('\n')}\n`, { mode: 0o600 });
    const reached = ['--bind-address=127.0.0.1', `--port=${databasePort}`, `--socket=${join(this.folder, 'database.socket')}`];
    const quick = ['--skip-name-resolve', '--innodb-flush-log-at-trx-commit=0', `--init-file=${init}`];
    this.daemon('mariadbd', [...usual, ...reached, ...quick]);
    const asked = ['--no-defaults', '--host=127.0.0.1', `--port=${databasePort}`, '--user=slurm', `--password=${password}`];
    await this.until(() => this.run('mariadb', [...asked, '--execute=select 1']) !== '', 'MariaDB');
    const conf = [
      ...['AuthType=auth/munge', `AuthInfo=socket=${join(this.folder, 'munge/socket')}`],
      ...['DbdHost=localhost', 'DbdAddr=127.0.0.1', `DbdPort=${port}`, 'SlurmUser=root'],
      ...[`PidFile=${join(this.folder, 'slurmdbd.pid')}`, `LogFile=${log}`],
      ...['StorageType=accounting_storage/mysql', 'StorageHost=127.0.0.1', `StoragePort=${databasePort}`],
      ...['StorageUser=slurm', `StoragePass=${password}`, ''],
    ];
    writeFileSync(join(this.folder, 'slurmdbd.conf'), conf.join('\n'), { mode: 0o600 }); // it lies beside SLURM_CONF
    this.daemon('slurmdbd', ['-D']);
    await this.until(() => readFileSync(log, 'utf8').includes('started'), 'slurmdbd');
    this.account('add', 'cluster', 'espalier');
    for (const account of accounts) {
      this.account('add', 'account', account);
      this.account('add', 'user', 'root,daemon', `account=${account}`);
    }
  }

  /** Changes accounts, users or QOS. */
  account(...words: string[]): void {
    execFileSync('sacctmgr', ['--immediate', ...words], {
      env: { ...process.env, ...this.env },
      stdio: 'ignore',
      timeout: STARTS_WITHIN_MS,
    });
  }

  startNode(node: string): void {
    this.daemon('slurmd', ['-D', '-f', this.conf, '-N', node], `slurmd ${node}`);
  }

  async kill(name: string): Promise<void> {
    const child = this.daemons.get(name)!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** Runs one of Slurm's commands. */
  run(program: string, args: readonly string[], input = ''): string {
    return execFileSync(program, args, { env: { ...process.env, ...this.env }, encoding: 'utf8', input, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** The jobs that wait or run, with id, state and reason. */
  jobs(): { id: string; state: string; reason: string }[] {
    return this.run('squeue', ['--noheader', '--format=%i|%T|%r'])
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split('|'))
      .map(([id, state, reason]) => ({ id: id!, state: state!, reason: reason! }));
  }

  /** The user and the account of each job that waits or runs. */
  owners(): string[] {
    return this.run('squeue', ['--noheader', '--format=%u %a']).split('\n').filter(Boolean);
  }

  /** The number of the last job that was submitted. */
  submitted(): number {
    return Math.max(0, ...this.run('squeue', ['--noheader', '--states=all', '--format=%i']).split('\n').filter(Boolean).map(Number));
  }

  /** Submits a job of another user of the cluster, and returns its id. */
  block(args: readonly string[]): string {
    return this.run('sbatch', ['--parsable', '--output=/dev/null', ...args], '#!/bin/sh\nexec sleep 600\n').trim();
  }

  async until(isSo: () => boolean, what: string): Promise<void> {
    for (const until = Date.now() + STARTS_WITHIN_MS; Date.now() < until;) {
      try {
        if (isSo()) return;
      } catch {
        // the controller does not answer yet
      }
      await sleep(50);
    }
    throw new Error(`Slurm did not get there: ${what}\n${this.logs()}`);
  }

  /** Waits until all nodes are up and free. A node that was taken down is taken up again. */
  async isWhole(): Promise<void> {
    await this.until(() => {
      const states = this.nodeStates();
      states.forEach(
        (state, index) => state.startsWith('down') && this.run('scontrol', ['update', `nodename=${NODES[index]}`, 'state=resume']),
      );
      return states.every((state) => state === 'idle');
    }, 'all nodes');
  }

  async stop(): Promise<void> {
    try {
      for (const { id } of this.jobs()) this.run('scancel', [id]);
      await this.until(() => this.jobs().length === 0, 'the end of its jobs');
    } catch {
      // the process has gone already
    }
    for (const name of [...this.daemons.keys()].reverse()) await this.kill(name);
    rmSync(this.folder, { recursive: true, force: true });
  }

  private nodeStates(): string[] {
    return this.run('sinfo', ['--noheader', '--Node', '--partition=low', '--format=%T']).split('\n').filter(Boolean);
  }

  private mungeOption(name: string): string {
    const option = { key: 'key-file', socket: 'socket', pid: 'pid-file', log: 'log-file', seed: 'seed-file' }[name]!;
    return `--${option}=${join(this.folder, 'munge', name)}`;
  }

  private daemon(program: string, args: readonly string[], name = program): void {
    const child = spawn(program, args, { stdio: 'ignore', env: { ...process.env, ...this.env } });
    this.daemons.set(name, child);
  }

  private logs(): string {
    return ['slurmctld', 'slurmdbd', ...NODES]
      .map((name) => join(this.folder, `${name}.log`))
      .filter((file) => existsSync(file))
      .map((file) => readFileSync(file, 'utf8').split('\n').slice(-8).join('\n'))
      .join('\n');
  }

  /** The configuration, with short times where Slurm's own are minutes. */
  private configuration([controller, ...nodes]: number[]): string {
    const host = hostname().split('.')[0];
    return [
      'ClusterName=espalier',
      `SlurmctldHost=${host}(127.0.0.1)`,
      'SlurmUser=root',
      'SlurmdUser=root',
      'AuthType=auth/munge',
      `AuthInfo=socket=${join(this.folder, 'munge/socket')}`,
      `SlurmctldPort=${controller}`,
      `StateSaveLocation=${join(this.folder, 'state')}`,
      `SlurmdSpoolDir=${join(this.folder, '%n')}`,
      `SlurmctldPidFile=${join(this.folder, 'slurmctld.pid')}`,
      `SlurmdPidFile=${join(this.folder, '%n.pid')}`,
      `SlurmctldLogFile=${join(this.folder, 'slurmctld.log')}`,
      `SlurmdLogFile=${join(this.folder, '%n.log')}`,
      ...(this.accountingPort === null
        ? []
        : [
            ...['AccountingStorageType=accounting_storage/slurmdbd', 'AccountingStorageHost=127.0.0.1'],
            ...[`AccountingStoragePort=${this.accountingPort}`, 'AccountingStorageEnforce=associations,limits,qos'],
            `AccountingStoragePass=${join(this.folder, 'munge/socket')}`,
          ]),
      'ProctrackType=proctrack/pgid',
      'TaskPlugin=task/none',
      'SelectType=select/cons_tres',
      'SelectTypeParameters=CR_Core',
      'SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0',
      'PreemptType=preempt/partition_prio',
      'PreemptMode=CANCEL',
      'ReturnToService=2',
      'KillWait=10',
      'SlurmdTimeout=10',
      'MpiDefault=none',
      ...NODES.map((node, index) => `NodeName=${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${nodes[index]} CPUs=1 RealMemory=2000`),
      'PartitionName=low Nodes=n1,n2 Default=YES MaxTime=60 PriorityTier=1',
      'PartitionName=high Nodes=n1,n2 MaxTime=60 PriorityTier=10 PreemptMode=OFF',
      '',
    ].join('\n');
  }
}

async function freePorts(count: number): Promise<number[]> {
  const listeners = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(listeners.map((one) => once(one, 'listening')));
  const ports = listeners.map((one) => (one.address() as AddressInfo).port);
  await Promise.all(listeners.map((one) => once(one.close(), 'close')));
  return ports;
}
