import { appendFileSync, copyFileSync, cpSync, mkdtempSync, rmSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelDescription } from './native.js';
import { loadWithDigest } from './weights-digests.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-weights-'));
  for (const name of ['config.json', 'model.safetensors', 'README.md']) writeFileSync(join(folder, name), name);
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Stands in for the core. It counts how often it reads weights, and its digests are these numbers. */
function core(atLoad = (): void => undefined): { readings: number; load(options: { readWeights: boolean }): Promise<ModelDescription> } {
  return {
    readings: 0,
    load({ readWeights }) {
      atLoad();
      if (readWeights) this.readings += 1;
      return Promise.resolve({ layerCount: 2n, weightsDigest: readWeights ? `reading ${this.readings}` : '' } as ModelDescription);
    },
  };
}

describe('the weights of a model', () => {
  it('are read once, for all sessions of the model', async () => {
    const native = core();
    for (let session = 0; session < 3; session += 1)
      expect(await loadWithDigest(native, folder)).toEqual({ layerCount: 2n, weightsDigest: 'reading 1' });
    writeFileSync(join(folder, 'README.md'), 'other words');
    expect(await loadWithDigest(native, folder)).toMatchObject({ weightsDigest: 'reading 1' });
  });

  it.each<[string, () => void]>([
    ['was written to', () => appendFileSync(join(folder, 'model.safetensors'), '!')],
    [
      'was written to, with its size and time as before',
      () => {
        writeFileSync(join(folder, 'model.safetensors'), 'other.safetensors');
        utimesSync(join(folder, 'model.safetensors'), 1, 1);
      },
    ],
    ['has other settings', () => copyFileSync(join(folder, 'README.md'), join(folder, 'config.json'))],
    ['was added', () => cpSync(join(folder, 'model.safetensors'), join(folder, 'model-2.safetensors'))],
    ['is gone', () => unlinkSync(join(folder, 'model.safetensors'))],
  ])('are read again where a file of them %s', async (_, change) => {
    const native = core();
    utimesSync(join(folder, 'model.safetensors'), 1, 1);
    await loadWithDigest(native, folder);
    change();
    expect(await loadWithDigest(native, folder)).toMatchObject({ weightsDigest: 'reading 2' });
  });

  it('are read again where a file changes while a session opens', async () => {
    await loadWithDigest(core(), folder);
    const changing = core(() => appendFileSync(join(folder, 'model.safetensors'), '!'));
    expect(await loadWithDigest(changing, folder)).toMatchObject({ weightsDigest: 'reading 1' });
    expect(changing.readings).toBe(1);
    expect(await loadWithDigest(changing, folder)).toMatchObject({ weightsDigest: 'reading 2' }); // it changed during that reading, too
  });
});
