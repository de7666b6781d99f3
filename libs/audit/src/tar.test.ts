import { readTar, tarEntry, TarDamage } from './tar.js';

describe('a tar file that is read', () => {
  it.each([
    ['damaged in its second header', Buffer.alloc(512, 7), TarDamage],
    ['left by its reader after the first entry', Buffer.alloc(1024), undefined],
  ])('lets go of its source when it is %s', async (_, after, error) => {
    let isOpen = true;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* tarEntry('first', Buffer.from('text'));
        yield after;
        yield Buffer.alloc(512);
      } finally {
        isOpen = false;
      }
    }
    const read = async (): Promise<void> => {
      for await (const { content } of readTar(source())) {
        for await (const _chunk of content);
        if (error === undefined) break;
      }
    };
    if (error === undefined) await read();
    else await expect(read()).rejects.toThrow(error);
    expect(isOpen).toBe(false);
  });
});
