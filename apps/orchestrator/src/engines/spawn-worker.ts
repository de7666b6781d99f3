// The thread that starts engine processes; see spawn-thread.ts.
import { spawn } from 'node:child_process';
import { parentPort } from 'node:worker_threads';
import type { SpawnedMessage, SpawnRequest } from './spawn-thread.js';

parentPort!.on('message', ({ id, file, args }: SpawnRequest) => {
  const say = (message: Omit<SpawnedMessage, 'id'>): void => parentPort!.postMessage({ id, ...message });
  // The pipe to the child's input closes when this process ends in any way, so the child notices the end.
  const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'pipe'] });
  child.stdin.on('error', () => undefined); // the child may be gone already
  child.stderr.setEncoding('utf8').on('data', (output: string) => say({ output }));
  child.once('error', (error) => say({ gone: `it could not be started: ${error.message}` }));
  child.once('exit', (code, signal) => say({ gone: signal ? `killed by ${signal}` : `exit code ${code}` }));
  if (child.pid !== undefined) say({ pid: child.pid });
});
