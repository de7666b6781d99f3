import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { ANSWER_COMPRESSIONS, compressedPage, encodingFor } from './compression.js';

describe('compression', () => {
  test.each([
    ['gzip, deflate, br, zstd', 'br'],
    ['gzip', 'gzip'],
    ['GZIP;q=0.5, br;q=0', 'gzip'],
    ['br; q=1.0', 'br'],
    ['identity', null],
    ['', null],
    ['brotli, xgzip', null],
  ])('for "%s" it is %s', (header, encoding) => {
    expect(encodingFor(header)).toBe(encoding);
  });

  test('whatever is compressed is there again', async () => {
    const bytes = Buffer.from('espalier '.repeat(1_000));
    expect(brotliDecompressSync(await compressedPage(bytes, 'br'))).toEqual(bytes);
    expect(gunzipSync(await compressedPage(bytes, 'gzip'))).toEqual(bytes);
    for (const { compress, decompress } of ANSWER_COMPRESSIONS) {
      const small = await compress(new Uint8Array(bytes));
      expect(small.byteLength).toBeLessThan(bytes.length / 10);
      expect(Buffer.from(await decompress(small, bytes.length))).toEqual(bytes);
      await expect(decompress(small, bytes.length - 1)).rejects.toThrow();
    }
  });
});
