// What can happen to the processes and their files. After `apply` either the orchestrator is dead or it goes on.
import { existsSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { decodeStored } from '../../src/pruning-run/stored-event.js';
import { fold } from '../../src/pruning-run/pruning-run.js';
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
  { name: 'stopped in good order', apply: async (server) => void await server.stop() },
  { name: 'orchestrator asleep', apply: (server, random) => asleep(server, 'orchestrator', random) },
  { name: 'engine asleep', apply: (server, random) => asleep(server, 'engine', random) },
  { name: 'event store asleep', apply: (server, random) => asleep(server, 'store', random) },
  { name: 'last state torn', apply: tearLastState },
];

async function asleep(server: TestServer, part: 'engine' | 'store' | 'orchestrator', random: Random): Promise<void> {
  server.signal(part, 'SIGSTOP');
  await random.pause(2_000);
  server.signal(part, 'SIGCONT');
}

/** As a power cut on a disk that lies about fsync would leave it. */
async function tearLastState(server: TestServer, _random: Random, runId: string): Promise<void> {
  let torn = '';
  try {
    const events = await server.events(runId);
    const run = fold(events.map((event) => decodeStored({ type: event.type, data: Buffer.from(event.dataJson) })));
    // The run may have gone on when it is killed. A teacher would then be torn that has no second copy, and a run's only
    // state has nothing before it: both are loss, and the run fails naming the artifact.
    const last = run?.current?.stateDigest ?? '';
    if (run?.previous && !run.teachers.some((one) => one.state.stateDigest === last)) torn = last;
  } catch {
    // not to be had right now: only the kill is left
  }
  await server.kill();
  const path = join(server.dataFolder, 'artifacts/objects', torn.slice(0, 2), torn);
  if (torn !== '' && existsSync(path)) truncateSync(path, 100);
}
