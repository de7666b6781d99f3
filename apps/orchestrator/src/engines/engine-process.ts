// An engine process as a child of this process: started on a socket of its own, watched, and ended.
import { setTimeout as sleep } from 'node:timers/promises';
import { programFile } from '#files';
import { EspalierError, invalidField } from '#protocol';
import { EngineClient } from './wire/engine-client.js';
import { recordListener, removeSocket, socketPath } from './socket-path.js';
import { spawnProcess, type SpawnedProcess } from './spawn-thread.js';

const PROGRAM = new URL('../../../engine/src/main.js', import.meta.url);
/**
 * Options of Node for the engine's process. Its garbage is a few copies of states, and frequent collections would take the processor from
 * the steps.
 */
const NODE_OPTIONS = ['--initial-old-space-size=128', '--no-memory-reducer'];
/**
 * An engine that fails to start ends, which is noticed at once. A sound one has taken over half a minute beside twenty busy processes on
 * two cores.
 */
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 5_000;
/** The longest output that becomes part of a recorded error. */
const MESSAGE_CHARACTERS_MAX = 1_000;

export interface EngineProcessOptions {
  /** The folder for sockets and the engine's log. */
  folder: string;
  device: string;
  threads: number;
  onOutput: (line: string) => void;
}

export class EngineProcess {
  readonly client: EngineClient;
  /** Resolves with the reason when the process is gone. */
  readonly gone: Promise<string>;

  private constructor(
    private readonly child: SpawnedProcess,
    folder: string,
    socket: string,
  ) {
    recordListener(folder, socket, child.pid);
    this.client = new EngineClient(`unix:${socket}`);
    this.gone = child.gone;
    void this.gone.then(() => removeSocket(folder, socket));
  }

  get pid(): number {
    return this.child.pid;
  }

  /** Starts a process, and returns when it answers its health check. @throws EspalierError ENGINE_UNAVAILABLE */
  static async start(options: EngineProcessOptions, signal: AbortSignal): Promise<EngineProcess> {
    const socket = socketPath(options.folder);
    let last = '';
    const args = [
      ...NODE_OPTIONS,
      programFile(PROGRAM),
      '--listen',
      `unix:${socket}`,
      '--device',
      options.device,
      '--threads',
      String(options.threads),
      '--exit-with-stdin',
    ];
    const child = await spawnProcess(process.execPath, args, (text) => {
      for (const line of text.split('\n').filter(Boolean)) {
        options.onOutput(line);
        // From a stack trace, only the line that names the error is kept.
        if (!/Error:/.test(last)) last = messageOf(line).slice(0, MESSAGE_CHARACTERS_MAX);
      }
    }).catch((error: unknown) => {
      throw new EspalierError('ENGINE_UNAVAILABLE', (error as Error).message);
    });
    const engine = new EngineProcess(child, options.folder, socket);
    let ended = null as string | null;
    void engine.gone.then((reason) => {
      ended = reason;
    });
    for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until;) {
      if (signal.aborted) break;
      if (ended !== null) throw refusedOption(last) ?? endedAtStart(ended, last);
      try {
        await engine.client.checkHealth(1_000);
        return engine;
      } catch {
        await sleep(50);
      }
    }
    engine.kill();
    signal.throwIfAborted();
    throw new EspalierError(
      'ENGINE_UNAVAILABLE',
      `the engine did not answer within ${START_TIMEOUT_MS / 1000} s of its start${last && `: ${last}`}`,
    );
  }

  kill(reason?: EspalierError): void {
    this.child.kill('SIGKILL');
    this.client.close(reason);
  }

  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    const stopped = await Promise.race([this.gone.then(() => true), sleep(STOP_TIMEOUT_MS, false, { ref: false })]);
    if (!stopped) this.child.kill('SIGKILL');
    this.client.close();
  }
}

function endedAtStart(how: string, last: string): EspalierError {
  return new EspalierError('ENGINE_UNAVAILABLE', `the engine ended while starting (${how})${last && `: ${last}`}`);
}

/** An engine that refuses an option names it in its last line. The error names it too, so that it counts as a mistake of the user. */
function refusedOption(last: string): EspalierError | undefined {
  const [, option, words] = /^espalier engine: (--[a-z-]+): (.*) \([A-Z_]+\)$/.exec(last) ?? [];
  return option === undefined || words === undefined ? undefined : invalidField('ENGINE_UNAVAILABLE', option, words);
}

/**
 * Returns the message in a line of output. The engine logs in JSON; output of Node itself, and output before the log starts, is plain text.
 */
function messageOf(line: string): string {
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { message?: string } };
    // The log joins an error and its cause, and each may repeat the text before it.
    return (
      [msg, err?.message]
        .filter(Boolean)
        .join(': ')
        .replace(/(: .+?)\1+$/, '$1') || line
    );
  } catch {
    return line.trim();
  }
}
