// Disturbances of the processes and their files. After `apply` the orchestrator is either dead or goes on.
import { existsSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { v1 } from '#protocol';
import type { PruningRunState } from '../../src/pruning-run/aggregate/pruning-run.js';
import { foldHistory } from '../harness/record-checks.js';
import type { TestServer } from '../harness/server.js';
import type { Random } from './random.js';

export interface Disturbance {
  name: string;
  apply(server: TestServer, random: Random, runId: string): Promise<void>;
}

export const disturbances: Disturbance[] = [
  { name: 'engine killed', apply: async (server) => void server.signal('engine', 'SIGKILL') },
  { name: 'orchestrator killed', apply: (server) => server.kill() },
  { name: 'orchestrator and engine killed', apply: (server) => server.kill('engine') },
  { name: 'event store killed', apply: async (server) => void server.signal('store', 'SIGKILL') },
  { name: 'all killed', apply: (server) => server.kill('engine', 'store') },
  {
    name: 'engine killed, then orchestrator',
    apply: async (server, random) => {
      server.signal('engine', 'SIGKILL');
      await random.pause(300);
      await server.kill();
    },
  },
  { name: 'stopped in good order', apply: (server) => server.stop().then(() => undefined) },
  { name: 'orchestrator asleep', apply: (server, random) => asleep(server, 'orchestrator', random) },
  { name: 'engine asleep', apply: (server, random) => asleep(server, 'engine', random) },
  { name: 'event store asleep', apply: (server, random) => asleep(server, 'store', random) },
  {
    name: 'killed twice, the second time while it starts',
    apply: async (server, random) => {
      await server.kill();
      await server.start();
      await random.pause(500);
      await server.kill('engine', 'store');
    },
  },
  { name: 'killed while it exports', apply: killWhileExporting },
  {
    name: 'last state torn',
    apply: (server, _random, runId) => killAndDamage(server, runId, ({ current }) => tear(server, current?.stateDigest)),
  },
  {
    name: 'a teacher torn',
    apply: (server, random, runId) =>
      killAndDamage(server, runId, ({ teachers }) => {
        if (teachers.length > 0) tear(server, random.pick(teachers).state.stateDigest);
      }),
  },
  {
    name: 'all artifacts gone',
    apply: (server, _random, runId) => killAndDamage(server, runId, () => rmSync(objectsOf(server), { recursive: true, force: true })),
  },
];

async function asleep(server: TestServer, part: 'engine' | 'store' | 'orchestrator', random: Random): Promise<void> {
  const pids = part === 'orchestrator' ? [server.pid] : server.pidsOf(part);
  if (pids.length === 0) return;
  const pid = random.pick(pids);
  const tell = (signal: NodeJS.Signals): void => {
    try {
      process.kill(pid, signal);
    } catch {
      // the process is gone already
    }
  };
  tell('SIGSTOP');
  await random.pause(2_000);
  tell('SIGCONT');
}

async function killWhileExporting(server: TestServer, random: Random, runId: string): Promise<void> {
  const call = server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, form: 'compacted' }));
  call.on('error', () => undefined).resume(); // the call may be refused before there is a state, and the kill cuts it off
  await random.pause(600);
  await server.kill('engine', 'store');
}

/** Kills the processes and damages a state, as a power cut does on a disk that lies about fsync. */
async function killAndDamage(server: TestServer, runId: string, damage: (run: PruningRunState) => void): Promise<void> {
  const events = await server.events(runId).catch(() => []); // if the events can't be read right now, there is only the kill
  await server.kill();
  if (events.length > 0) damage(foldHistory(events));
}

const objectsOf = (server: TestServer): string => join(server.dataFolder, 'artifacts/objects');

function tear(server: TestServer, digest: string | undefined): void {
  if (digest === undefined) return;
  const path = join(objectsOf(server), digest.slice(0, 2), digest);
  if (existsSync(path)) truncateSync(path, 100);
}
