// The context that every command gets: its output, its server, and the signal to stop.
import { Connection } from './connection/connection.js';
import { releaseWarner } from './connection/other-release.js';
import { dataFolderOf, findServer, type ServerAddress } from './connection/server-address.js';
import { Interrupted } from './cli-error.js';
import { Output } from './output/output.js';
import { warnOf } from './output/warnings.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** The options that every command has. */
export interface GlobalOptions {
  server?: string;
  tlsCa?: string;
  tokenFile?: string;
  dataFolder?: string;
  json?: boolean;
  color?: boolean;
}

export class Context {
  readonly output: Output;
  /** Aborted by Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  private readonly interrupt = new AbortController();
  private opened: Connection | null = null;
  private tidyUpMs = 2_000;

  constructor(private readonly options: GlobalOptions) {
    Connection.forPeople = options.json !== true;
    this.output = new Output({ json: options.json === true, colour: options.color !== false });
    Connection.onAnswer = releaseWarner((code, message) => warnOf(this.output, code, message));
    this.signal = this.interrupt.signal;
  }

  get dataFolder(): string {
    return dataFolderOf(this.options.dataFolder);
  }

  findServer(): ServerAddress {
    return findServer(this.options);
  }

  /** Finds the server as `findServer` does, but ignores a kept login. */
  findServerWithoutLogin(): ServerAddress {
    return findServer({ ...this.options, withoutLogin: true });
  }

  get connection(): Connection {
    this.opened ??= new Connection(this.findServer(), this.signal);
    return this.opened;
  }

  /**
   * From this call on, Ctrl-C or SIGTERM ends the command: its waits are given up, and the process ends soon, whatever it is doing. A
   * second signal ends it at once.
   */
  stopOnInterrupt(): void {
    for (const signal of SIGNALS) process.on(signal, this.stop);
  }

  private readonly stop = (signal: 'SIGINT' | 'SIGTERM'): void => {
    const reason = new Interrupted(signal);
    this.interrupt.abort(reason);
    // The process kills itself by the signal, which ends it even if one of its threads hangs in the file system.
    setTimeout(() => process.kill(process.pid, signal), this.tidyUpMs).unref();
    this.endAtOnceOnInterrupt();
  };

  /** Sets the time that the command has to clean up after it is told to stop. */
  allowToTidyUp(milliseconds: number): void {
    this.tidyUpMs = milliseconds;
  }

  /** Must be called before work that blocks the process. A signal then ends the process at once, like any other program. */
  endAtOnceOnInterrupt(): void {
    for (const signal of SIGNALS) process.off(signal, this.stop);
  }

  close(): void {
    this.endAtOnceOnInterrupt();
    this.opened?.close();
  }
}
