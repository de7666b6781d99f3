// The native engine of an installed package is compiled when a command first needs it: then its progress and its problems are seen, which
// npm hides while it installs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { engineBuilder, nativeAddon } from '#files';
import { CliError, ExitCode } from './cli-error.js';

/** A clone's engine is built by its scripts. @throws CliError NOT_BUILT */
export async function buildEngineOnce(signal: AbortSignal): Promise<void> {
  const builder = engineBuilder();
  if (builder === null || existsSync(nativeAddon())) return;
  const child = spawn(process.execPath, [builder], { stdio: ['ignore', 'ignore', 'inherit'] });
  const end = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', end, { once: true });
  const [code] = (await once(child, 'exit')) as [number | null];
  signal.removeEventListener('abort', end);
  signal.throwIfAborted();
  if (code === 0) return;
  throw new CliError('NOT_BUILT', 'the native engine is not built, and this command needs it', { exitCode: ExitCode.unavailable });
}
