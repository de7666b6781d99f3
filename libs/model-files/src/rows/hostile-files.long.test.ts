// Tests paths that are not regular files, files that unpack without end, and files with false statements about themselves. Each is refused
// within seconds with a code and its name, and nothing of it is stored.
import { execFileSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ByteWriter } from 'hyparquet-writer';
import { writePageHeader } from 'hyparquet-writer/src/datapage.js';
import { deltaByteArray } from 'hyparquet-writer/src/delta.js';
import { writeMetadata } from 'hyparquet-writer/src/metadata.js';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { listDataFiles } from './data-files.js';
import { ModelFilesError, prepareTokens, readSplit, requireTokenizer } from '../index.js';

const MODEL = 'examples/models/factbook-llama-3m';
const MIB = 1 << 20;

let folder: string;
let store: ArtifactStore;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hostile-files-'));
  store = await openArtifactStore({ folder: join(folder, 'artifacts') });
  await mkdir(join(folder, 'data'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, 'data', name);
const file = async (name: string, content: string | Uint8Array): Promise<string> => {
  await writeFile(at(name), content);
  return at(name);
};
const prepare = (dataPath: string, more: object = {}) =>
  prepareTokens({ modelPath: MODEL, text: { paths: [dataPath], fields: ['data.train_path'] }, vocabularySize: 2048, store, ...more });

async function refusal(work: Promise<unknown>): Promise<ModelFilesError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ModelFilesError);
  for await (const { digest } of store.list()) throw new Error(`${digest} was stored`);
  return error as ModelFilesError;
}

describe('what is not a regular file', () => {
  test('as data: a FIFO, a device, a socket path, a link to nothing', async () => {
    execFileSync('mkfifo', [at('a.jsonl')]);
    await symlink('/dev/zero', at('b.txt'));
    await symlink(at('nothing'), at('c.txt'));
    expect(await refusal(prepare(at('a.jsonl')))).toMatchObject({ code: 'FILE_NOT_REGULAR', field: 'data.train_path' });
    expect((await refusal(prepare(at('b.txt')))).code).toBe('FILE_NOT_REGULAR');
    expect((await refusal(prepare(at('c.txt')))).code).toBe('DATA_NOT_FOUND');
    expect((await refusal(prepare(join(folder, 'data')))).code).toBe('FILE_NOT_REGULAR'); // in a folder too
  });

  test('as tokenizer.json or its configuration: a FIFO, a device, too large', async () => {
    const data = await file('a.txt', 'words');
    const model = join(folder, 'model');
    await mkdir(model);
    execFileSync('mkfifo', [join(model, 'tokenizer.json')]);
    const refused = async () => {
      const early = await refusal(requireTokenizer(model)); // this check runs before anything is recorded
      const late = await refusal(prepare(data, { modelPath: model }));
      expect([early.code, early.message]).toEqual([late.code, late.message]);
      return late;
    };
    expect(await refused()).toMatchObject({ code: 'FILE_NOT_REGULAR', field: 'model_path', message: expect.stringContaining('a FIFO') });
    await rm(join(model, 'tokenizer.json'));
    await symlink('/dev/zero', join(model, 'tokenizer.json'));
    expect(await refused()).toMatchObject({ code: 'FILE_NOT_REGULAR', field: 'model_path' });
    await rm(join(model, 'tokenizer.json'));
    await writeFile(join(model, 'tokenizer.json'), '');
    await truncate(join(model, 'tokenizer.json'), 2 ** 30);
    expect(await refused()).toMatchObject({ code: 'FILE_TOO_LARGE', field: 'model_path', message: expect.stringMatching(/at most \d+/) });
    await cp(join(MODEL, 'tokenizer.json'), join(model, 'tokenizer.json'));
    execFileSync('mkfifo', [join(model, 'tokenizer_config.json')]);
    expect(await refused()).toMatchObject({ code: 'FILE_NOT_REGULAR', file: join(model, 'tokenizer_config.json') });
  });
});

test('a folder that takes too long to look through', async () => {
  await file('a.txt', 'words');
  await expect(listDataFiles(join(folder, 'data'), undefined, 0)).rejects.toMatchObject({
    code: 'DATA_TOO_LARGE',
    message: expect.stringContaining('takes too long to look through'),
  });
});

describe('what unpacks without end', () => {
  const eightMiB = gzipSync(Buffer.alloc(8 * MIB));

  test('a gzip stream', async () => {
    const path = await file('a.txt.gz', Buffer.concat(Array<Buffer>(200).fill(eightMiB)));
    expect(await refusal(prepare(path))).toMatchObject({ code: 'DATA_TOO_LARGE', file: path, field: 'data.train_path' });
  });

  test('many small ones in nested folders', async () => {
    for (let index = 0; index < 20; index += 1) {
      await mkdir(at(`${index % 3}/${index}`), { recursive: true });
      await file(`${index % 3}/${index}/a.jsonl.gz`, eightMiB);
    }
    expect((await refusal(prepare(join(folder, 'data')))).code).toBe('DATA_TOO_LARGE');
  });

  test('text that repeats itself is not a bomb while it is small', async () => {
    const path = await file('a.txt.gz', gzipSync('the same line\n'.repeat(100_000)));
    expect((await prepare(path)).tokenCount).toBeGreaterThan(100_000);
  });
});

describe('Parquet that says what is not so', () => {
  interface Page {
    type?: 'DATA_PAGE' | 'DICTIONARY_PAGE';
    values: number;
    encoding?: string;
    unpacked?: number;
    body: Uint8Array;
  }
  /** A Parquet file with one column `text` and the given pages and counts. */
  function crafted(
    pages: Page[],
    { codec = 'UNCOMPRESSED', rows = 1, bytes = 0 }: { codec?: string; rows?: number; bytes?: number } = {},
  ): Buffer {
    const writer = new ByteWriter();
    writer.appendUint32(0x31524150);
    for (const { type = 'DATA_PAGE', values, encoding = 'PLAIN', unpacked, body } of pages) {
      const about = { num_values: values, encoding, definition_level_encoding: 'RLE', repetition_level_encoding: 'RLE' };
      writePageHeader(writer, {
        type,
        uncompressed_page_size: unpacked ?? body.byteLength,
        compressed_page_size: body.byteLength,
        ...(type === 'DATA_PAGE' ? { data_page_header: about } : { dictionary_page_header: { num_values: values, encoding: 'PLAIN' } }),
      } as never);
      writer.appendBytes(body);
    }
    const size = BigInt(bytes || writer.offset - 4);
    const chunk = {
      type: 'BYTE_ARRAY',
      encodings: ['PLAIN'],
      path_in_schema: ['text'],
      codec,
      num_values: BigInt(rows),
      total_uncompressed_size: size,
      total_compressed_size: size,
      data_page_offset: 4n,
    };
    writeMetadata(writer, {
      version: 2,
      schema: [
        { name: 'root', num_children: 1 },
        { name: 'text', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
      ],
      num_rows: BigInt(rows),
      row_groups: [{ columns: [{ file_offset: 0n, meta_data: chunk }], total_byte_size: size, num_rows: BigInt(rows) }],
      metadata_length: 0,
    } as never);
    writer.appendUint32(0x31524150);
    return Buffer.from(writer.getBuffer());
  }
  const plain = (...texts: string[]): Buffer =>
    Buffer.concat(
      texts.map((text) => {
        const length = Buffer.alloc(4);
        length.writeUInt32LE(Buffer.byteLength(text));
        return Buffer.concat([length, Buffer.from(text)]);
      }),
    );
  /** Index 1, `count` times, in the hybrid encoding of dictionary indices. */
  const repeated = (count: number): Buffer => {
    const bytes = [1];
    for (let rest = count * 2; ; rest = Math.floor(rest / 128)) {
      bytes.push(rest < 128 ? rest : (rest % 128) | 128);
      if (rest < 128) break;
    }
    return Buffer.from([...bytes, 1]);
  };
  /** A Zstandard frame whose blocks each repeat one byte 128 KiB times. */
  const zstandard = (blocks: number, lead = Buffer.alloc(0)): Buffer => {
    const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x38]);
    const size = 1 << 17;
    const block = (isLast: boolean): number[] => [((size << 3) & 0xff) | 2 | Number(isLast), (size >> 5) & 0xff, (size >> 13) & 0xff, 0x61];
    const raw = lead.byteLength === 0 ? [] : [Buffer.from([lead.byteLength << 3, 0, 0]), lead];
    return Buffer.concat([header, ...raw, ...Array.from({ length: blocks }, (_, index) => Buffer.from(block(index === blocks - 1)))]);
  };

  test('the crafted file itself is read', async () => {
    const path = await file('a.parquet', crafted([{ values: 2, body: plain('one', 'two') }], { rows: 2 }));
    expect((await prepare(path)).tokenCount).toBeGreaterThan(1);
    const dictionary = { type: 'DICTIONARY_PAGE', values: 2, body: plain('one', 'two') } as const;
    const many = { values: 1000, encoding: 'RLE_DICTIONARY', body: repeated(1000) };
    const other = await file('b.parquet', crafted([dictionary, many], { rows: 1000 }));
    expect((await prepare(other)).tokenCount).toBeGreaterThan(1000);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(1 << 17);
    const packed = { values: 1, unpacked: 4 + (1 << 17), body: zstandard(1, length) };
    expect((await prepare(await file('c.parquet', crafted([packed], { codec: 'ZSTD' })))).tokenCount).toBeGreaterThan(1);
  });

  const cases: [string, () => Buffer, string, RegExp][] = [
    [
      'more rows than there are',
      () => crafted([{ values: 2, body: plain('one', 'two') }], { rows: 2_000_000_000 }),
      'DATA_MALFORMED',
      /Parquet/,
    ],
    [
      'a page of more values than rows',
      () => crafted([{ values: 3, body: plain('a', 'b', 'c') }], { rows: 2 }),
      'DATA_MALFORMED',
      /3 values; at most 2/,
    ],
    [
      'a page of two milliards of values',
      () => crafted([{ values: 2_000_000_000, encoding: 'RLE_DICTIONARY', body: repeated(2_000_000_000) }], { rows: 2_000_000_000 }),
      'DATA_MALFORMED',
      /2000000000 values; at most 16777216/,
    ],
    [
      'a dictionary of two milliards',
      () => crafted([{ type: 'DICTIONARY_PAGE', values: 2_000_000_000, body: plain('a') }]),
      'DATA_MALFORMED',
      /values; at most/,
    ],
    [
      'a page of two gigabytes',
      () => crafted([{ values: 1, unpacked: 2_000_000_000, body: plain('a') }], { codec: 'GZIP' }),
      'DATA_MALFORMED',
      /2000000000 bytes; at most/,
    ],
    ['a negative size', () => crafted([{ values: 1, unpacked: -5, body: plain('a') }]), 'DATA_MALFORMED', /-5 bytes/],
    [
      'a column that ends behind the file',
      () => crafted([{ values: 1, body: plain('a') }], { bytes: 2 ** 40, rows: 2 }),
      'DATA_MALFORMED',
      /Parquet/,
    ],
    [
      'a page that unpacks to more than it says',
      () => crafted([{ values: 1, unpacked: 100, body: zstandard(8000) }], { codec: 'ZSTD' }),
      'DATA_MALFORMED',
      /Parquet/,
    ],
    [
      'a megabyte repeated',
      () =>
        crafted(
          [
            { type: 'DICTIONARY_PAGE', values: 2, body: plain('a', 'b '.repeat(1 << 19)) },
            { values: 10_000_000, encoding: 'RLE_DICTIONARY', body: repeated(10_000_000) },
          ],
          { rows: 10_000_000 },
        ),
      'DATA_TOO_LARGE',
      /unpacks to too much/,
    ],
    [
      'pages that unpack to much',
      () =>
        crafted(
          Array.from({ length: 100 }, () => ({ values: 1, unpacked: 200 * MIB, body: zstandard(1600) })),
          { codec: 'ZSTD', rows: 100 },
        ),
      'DATA_TOO_LARGE',
      /unpacks to too much/,
    ],
  ];
  test.each(cases)('%s', async (_, content, code, message) => {
    const path = await file('a.parquet', content());
    const error = await refusal(prepare(path));
    expect(error).toMatchObject({ code, file: path, field: 'data.train_path', message: expect.stringMatching(message) });
  });

  test.each(cases)('as rows with all their columns: %s', async (_, content) => {
    const path = await file('a.parquet', content());
    const error = await refusal(readSplit(join(folder, 'data'), 'a'));
    expect(error).toMatchObject({ code: expect.stringMatching(/^DATA_(MALFORMED|TOO_LARGE)$/), file: path });
  });

  test('values that repeat the beginning of the one before', async () => {
    const texts = Array.from({ length: 400 }, () => Buffer.alloc(100_000, 'a'));
    const writer = new ByteWriter();
    deltaByteArray(writer, texts as never);
    const body = new Uint8Array(writer.getBuffer());
    expect(body.byteLength).toBeLessThan(MIB);
    const path = await file('a.parquet', crafted([{ values: 400, encoding: 'DELTA_BYTE_ARRAY', body }], { rows: 400 }));
    expect((await refusal(prepare(path))).code).toBe('DATA_TOO_LARGE');
  });

  test('a gzipped one is unpacked within the limits too', async () => {
    const path = await file('a.parquet.gz', Buffer.concat(Array<Buffer>(100).fill(gzipSync(Buffer.alloc(8 * MIB)))));
    expect((await refusal(prepare(path))).code).toBe('DATA_TOO_LARGE');
  });
});

test('a pattern that runs for ever is given up, and named with the text', async () => {
  const model = join(folder, 'model');
  await cp(MODEL, model, { recursive: true });
  const tokenizer = JSON.parse(await readFile(join(model, 'tokenizer.json'), 'utf8')) as { pre_tokenizer: unknown };
  tokenizer.pre_tokenizer = {
    type: 'Sequence',
    pretokenizers: [{ type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated', invert: false }, tokenizer.pre_tokenizer],
  };
  await writeFile(join(model, 'tokenizer.json'), JSON.stringify(tokenizer));
  const path = await file('a.jsonl', `{"text":"fine"}\n{"text":"${'a'.repeat(60)}b"}\n`);
  const error = await refusal(prepare(path, { modelPath: model, documentTimeLimitMs: 5000 }));
  expect(error).toMatchObject({ code: 'TOKENIZER_TIMEOUT', field: 'model_path', file: path, line: 2 });
  expect(error.message).toMatch(/given up after 5 s/);
});

describe('a tokenizer that makes too much of a text is refused, and named with the text:', () => {
  const replaced = (from: string, to: string): object => ({ type: 'Replace', pattern: { String: from }, content: to });
  const doubling = Array.from({ length: 60 }, () => replaced('a', 'aa'));
  const start = { SpecialToken: { id: '<s>', type_id: 0 } };
  const modelWith = async (changes: object): Promise<string> => {
    const model = join(folder, 'model');
    await cp(MODEL, model, { recursive: true });
    const tokenizer = JSON.parse(await readFile(join(model, 'tokenizer.json'), 'utf8')) as object;
    await writeFile(join(model, 'tokenizer.json'), JSON.stringify({ ...tokenizer, ...changes }));
    return model;
  };

  test.each([
    ['a letter that becomes a thousand', { normalizer: replaced('a', 'ab'.repeat(500)) }],
    ['steps that double it', { normalizer: { type: 'Sequence', normalizers: doubling } }],
    ['steps within steps', { normalizer: { type: 'Sequence', normalizers: [{ type: 'Sequence', normalizers: doubling }] } }],
    [
      'special tokens around it',
      {
        post_processor: {
          type: 'TemplateProcessing',
          single: [...new Array<object>(10_000).fill(start), { Sequence: { id: 'A', type_id: 0 } }],
          pair: [],
          special_tokens: {},
        },
      },
    ],
  ])('%s', async (_name, changes) => {
    const path = await file('a.jsonl', `{"text":"${'a'.repeat(250)}"}\n`);
    const error = await refusal(prepare(path, { modelPath: await modelWith(changes) }));
    expect(error).toMatchObject({ code: 'TOKENIZER_EXPANDS', field: 'model_path', file: path, line: 1 });
  });

  test('but not one that writes characters out as Unicode does', async () => {
    const path = await file('a.jsonl', `{"text":"${'\ufdfa'.repeat(10_000)}"}\n`);
    const made = await prepare(path, { modelPath: await modelWith({ normalizer: { type: 'NFKD' } }) });
    expect(made.tokenCount).toBeGreaterThan(200_000);
  });
});

test('data that shrinks while it is read has changed', async () => {
  const path = await file('a.jsonl', '{"text":"some words of a line"}\n'.repeat(400_000));
  const shrunk = prepare(path, { onProgress: () => void truncate(path, 1000) });
  expect((await refusal(shrunk)).code).toBe('DATA_CHANGED');
});
