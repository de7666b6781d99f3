// What every command gets: where to write, and how to reach the server.
import { Connection } from './connection/connection.js';
import { dataFolderOf, findServer, type ServerAddress } from './connection/server-address.js';
import { Interrupted } from './cli-error.js';
import { Output } from './output/output.js';

/** The options that stand for every command. */
export interface GlobalOptions {
  server?: string;
  dataFolder?: string;
  json?: boolean;
  color?: boolean;
}

export class Context {
  readonly output: Output;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  private readonly interrupt = new AbortController();
  private opened: Connection | null = null;

  constructor(private readonly options: GlobalOptions) {
    this.output = new Output({ json: options.json === true, colour: options.color !== false });
    this.signal = this.interrupt.signal;
  }

  get dataFolder(): string {
    return dataFolderOf(this.options.dataFolder);
  }

  findServer(): ServerAddress {
    return findServer(this.options);
  }

  get connection(): Connection {
    this.opened ??= new Connection(this.findServer());
    return this.opened;
  }

  /** From here on Ctrl-C ends what the command waits for; a second one ends the process. */
  stopOnInterrupt(): void {
    process.once('SIGINT', () => this.interrupt.abort(new Interrupted('stopped by Ctrl-C')));
    process.once('SIGTERM', () => this.interrupt.abort(new Interrupted('stopped')));
  }

  close(): void {
    this.opened?.close();
  }
}
