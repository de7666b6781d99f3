// A server for tests of runs that are being prepared, and texts that no run has read before.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { TestServer, TRAINING_DATA, unary } from './server.js';

export const SHORT = { totalSteps: 20, warmupSteps: 5 };

export class PreparingServer {
  readonly server = TestServer.inNewFolder();
  readonly folder = mkdtempSync(join(tmpdir(), 'espalier-preparing-'));
  private texts = 0;

  readonly longText = (): string => this.newText(100); // takes some seconds to tokenize
  readonly shortText = (): string => this.newText(4);
  readonly launchLong = (text = this.longText()): Promise<v1.Run> =>
    this.server.launch(SHORT, { data: { trainPath: text, validationPath: '' } });
  readonly typesOf = async (runId: string): Promise<string[]> => (await this.server.events(runId)).map(({ type }) => type);
  readonly cancel = (runId: string): Promise<unknown> => unary((done) => this.server.runs.cancelRun({ runId, reason: '' }, done));

  async dispose(): Promise<void> {
    await this.server.dispose();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private newText(documents: number): string {
    const path = join(this.folder, `text-${(this.texts += 1)}.jsonl`);
    const lines = readFileSync(TRAINING_DATA, 'utf8').split('\n').slice(0, documents);
    writeFileSync(path, `${lines.join('\n')}\n{"text":"the ${this.texts}th"}\n`);
    return path;
  }
}
