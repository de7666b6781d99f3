// An engine process of this installation for what the server must believe: what a model is, and the files of an export. It opens no session
// and trains nothing. It starts for a question, and ends when it was asked none for a while.
import { EngineProcess, type EngineProcessOptions } from './engine-process.js';
import type { EngineApi } from './wire/engine-client.js';

const KEPT_MS = 60_000;

export class OwnEngine {
  private engine: Promise<EngineProcess> | null = null;
  private asking = 0;
  private timer: NodeJS.Timeout | undefined;
  private readonly stopping = new AbortController();

  constructor(private readonly options: EngineProcessOptions) {}

  async ask<T>(question: (client: EngineApi) => Promise<T>): Promise<T> {
    clearTimeout(this.timer);
    this.asking += 1;
    try {
      return await question((await this.start()).client);
    } finally {
      this.asking -= 1;
      if (this.asking === 0) this.timer = setTimeout(() => void this.end(), KEPT_MS).unref();
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort(new Error('the orchestrator is stopping'));
    clearTimeout(this.timer);
    await this.end();
  }

  private start(): Promise<EngineProcess> {
    if (this.engine !== null) return this.engine;
    const starting = EngineProcess.start(this.options, this.stopping.signal);
    this.engine = starting;
    const forget = (): void => {
      if (this.engine === starting) this.engine = null;
    };
    starting.then((engine) => void engine.gone.then(forget), forget);
    return starting;
  }

  private async end(): Promise<void> {
    const ending = this.engine;
    this.engine = null;
    await ending?.then((engine) => engine.stop()).catch(() => undefined);
  }
}
