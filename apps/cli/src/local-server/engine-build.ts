// Compiles what an installed package lacks, where no binary package fits this machine, when a command first needs it. The user then sees
// its progress and its problems, which npm would hide during the installation.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { engineBuilder, unbuiltParts } from '#files';
import { CliError, ExitCode } from '../cli-error.js';

/**
 * Builds the engine and SQLite of an installed package if they are not there yet. A clone's scripts build its engine.
 * @throws CliError NOT_BUILT
 */
export async function buildEngineOnce(signal: AbortSignal): Promise<void> {
  const builder = engineBuilder();
  if (builder === null || unbuiltParts().length === 0) return;
  const child = spawn(process.execPath, [builder], { stdio: ['ignore', 'ignore', 'inherit'] });
  const end = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', end, { once: true });
  const [code] = (await once(child, 'exit')) as [number | null];
  signal.removeEventListener('abort', end);
  signal.throwIfAborted();
  if (code === 0) return;
  throw new CliError('NOT_BUILT', 'the native engine is not built, and this command needs it', { exitCode: ExitCode.unavailable });
}
