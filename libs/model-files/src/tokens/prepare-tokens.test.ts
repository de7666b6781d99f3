import { appendFile, chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as library from '@huggingface/tokenizers';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { DocumentRows } from '../rows/document-row.js';
import {
  ModelFilesError,
  prepareTokens,
  prepareTokenShards,
  rememberedTokens,
  type PreparedTokens,
  type TokenizingProgress,
} from '../index.js';
import { loadTokenizer } from '../load-tokenizer.js';
import { filesOf, withField } from './prepare-tokens.js';
import type { TextSource } from './text-source.js';
import type { TextFile } from '../rows/data-files.js';
import { readDocuments, requireUnpackable } from '../rows/read-documents.js';
import { UnpackBudget } from '../rows/unpack-budget.js';

const MODEL = 'examples/models/factbook-llama-3m';
const CORPUS = 'examples/data/factbook';
const VOCABULARY_SIZE = 2048;

let folder: string;
let store: ArtifactStore;
let original: { encode(text: string): { ids: number[] } };

beforeAll(async () => {
  const read = async (name: string) => JSON.parse(await readFile(join(MODEL, name), 'utf8'));
  const Original = library.Tokenizer as unknown as new (tokenizer: object, config: object) => typeof original;
  original = new Original(await read('tokenizer.json'), await read('tokenizer_config.json'));
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'model-files-'));
  store = await openArtifactStore({ folder: join(folder, 'artifacts') });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const prepare = (dataPath: string, more: object = {}) =>
  prepareTokens({ modelPath: MODEL, text: { paths: [dataPath] }, vocabularySize: VOCABULARY_SIZE, store, ...more });
const file = async (name: string, content: string | Uint8Array) => {
  const path = join(folder, 'data', name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, content);
  return path;
};
const idsOf = async ({ digest, tokenCount }: PreparedTokens) => {
  const bytes = await store.get(digest);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ids = Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4, true));
  expect(ids.length).toBe(tokenCount);
  return ids;
};
/**
 * Returns the texts that the tokenizing process hands to its encoders. It reads them without that process, which takes longer to start than
 * the reading takes.
 */
const documentsOf = (text: TextSource) =>
  withField(text, async () => {
    const rows = new DocumentRows({ textColumn: undefined, responseOnly: false }, null);
    const texts: string[] = [];
    const files = await filesOf(text);
    await requireUnpackable(files);
    const budget = new UnpackBudget();
    for (const file of files)
      for await (const document of readDocuments(file as TextFile, rows, budget, () => undefined)) texts.push(document.text);
    return texts;
  });
const expected = (...texts: string[]) => texts.flatMap((text) => original.encode(text).ids);
const jsonl = (...texts: string[]) => texts.map((text) => `${JSON.stringify({ text })}\n`).join('');
const parquet = (texts: (string | null)[], options: object = {}) =>
  Buffer.from(
    parquetWriteBuffer({
      columnData: [
        { name: 'id', data: texts.map((_, index) => index), type: 'INT32' },
        { name: 'text', data: texts, type: 'STRING' },
      ],
      ...options,
    }),
  );
const failure = async (promise: Promise<unknown>): Promise<ModelFilesError> => {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ModelFilesError);
  return error as ModelFilesError;
};

const STRANGE = [
  'Grüße, 世界! 🌍🏽 e\u0301 \u200d',
  '  two  spaces\t\ttabs\n\n\nlines \r\n',
  "it's we've I'll 'S",
  '<s> </s> <unk> <s>x',
  ' \u00a0\u2003',
  'ab\u0000\u0007\uffff',
  '1234567890,.-_!?',
  'Ａｂｃ ﬁ ǅ',
  '\ud800 lone',
  'x'.repeat(5000),
  `${' '.repeat(300)}end `,
];

test('the bundled text gives exactly the tokens of the unmodified library, and a second time costs no tokenizing', async () => {
  const path = join(CORPUS, 'validation.jsonl');
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  const reports: TokenizingProgress[] = [];
  const onProgress = (progress: TokenizingProgress) => reports.push(progress);
  const prepared = await prepare(path, { onProgress });
  expect(prepared.tokenCount).toBe(105_198);
  expect(reports.at(-1)).toEqual({ bytesDone: 307_851, bytesTotal: 307_851, documents: 13, tokens: 105_198 });
  const ids = await idsOf(prepared);
  expect(ids).toEqual(lines.flatMap((line) => original.encode((JSON.parse(line) as { text: string }).text).ids));
  expect(ids.filter((id) => id === 1).length).toBe(lines.length);
  reports.length = 0;
  expect(await prepare(path, { onProgress })).toEqual(prepared);
  expect(reports).toEqual([]);
});

describe('formats', () => {
  const texts = [...STRANGE, 'plain words of a document'];
  const forms: [string, () => string | Uint8Array][] = [
    ['a.jsonl', () => jsonl(...texts)],
    ['a.ndjson', () => jsonl(...texts).trimEnd()],
    ['windows.jsonl', () => `\ufeff${jsonl(...texts).replaceAll('\n', '\r\n\r\n')}`],
    ['a.jsonl.gz', () => gzipSync(jsonl(...texts))],
    ['members.jsonl.gz', () => Buffer.concat(texts.map((text) => gzipSync(jsonl(text))))],
  ];
  test.each(forms)('%s', async (name, content) => {
    expect(await documentsOf({ paths: [await file(name, content())] })).toEqual(texts);
  });

  test('whatever a text holds, its tokens are those of the unmodified library', async () => {
    expect(await idsOf(await prepare(await file('a.jsonl', jsonl(...texts))))).toEqual(expected(...texts));
  });

  const whole = texts.filter((text) => !text.includes('\ud800')); // Parquet holds UTF-8, which has no lone surrogates
  const parquetForms: [string, () => Uint8Array][] = [
    ['snappy.parquet', () => parquet(whole)],
    ['plain.parquet', () => parquet(whole, { codec: 'UNCOMPRESSED' })],
    ['groups.parquet', () => parquet(whole, { rowGroupSize: 5 })],
    ['a.parquet.gz', () => gzipSync(parquet(whole))],
  ];
  test.each(parquetForms)('%s', async (name, content) => {
    expect(await documentsOf({ paths: [await file(name, content())] })).toEqual(whole);
  });

  test('a Parquet file of several thousand rows keeps their order', async () => {
    const rows = Array.from({ length: 2500 }, (_, index) => `row ${index}`);
    expect(await idsOf(await prepare(await file('rows.parquet', parquet(rows, { rowGroupSize: 1100 }))))).toEqual(expected(...rows));
  });

  test('plain text is one document with \\n line ends', async () => {
    const [lines, packed] = [await file('a.txt', '\ufeffeins\r\nzwei\r\n\r\ndrei\n'), await file('b.txt.gz', gzipSync('no line end ü'))];
    expect(await documentsOf({ paths: [lines, packed] })).toEqual(['eins\nzwei\n\ndrei\n', 'no line end ü']);
  });

  test('a long plain text is divided at line ends, and one without line ends between characters', async () => {
    const line = `${'word '.repeat(200)}\n`;
    const half = Math.ceil((1 << 20) / line.length); // in lines
    const divided = await documentsOf({ paths: [await file('long.txt', line.repeat(half + half + 1))] });
    expect(divided.map((text) => text.length / line.length)).toEqual([half, half, 1]);
    expect(divided.join('') === line.repeat(half + half + 1)).toBe(true);
    const words = 'üüüüüüüüü '.repeat(230_000); // 4.4 MB
    const endless = await documentsOf({ paths: [await file('endless.txt', words)] });
    expect([endless.length, endless.join('') === words]).toEqual([2, true]);
  });

  test('a folder: sorted by path, all formats, other files and hidden ones left out', async () => {
    await file('b.txt', 'second');
    await file('a.jsonl', jsonl('first'));
    await file('sub/c.parquet', parquet(['fourth']));
    await file('c.jsonl.gz', gzipSync(jsonl('third')));
    await file('README.md', 'not data');
    await file('.hidden.jsonl', 'not data');
    await symlink(await file('store/target.bin', jsonl('fifth')), join(folder, 'data', 'z.jsonl'));
    expect(await idsOf(await prepare(join(folder, 'data')))).toEqual(expected('first', 'second', 'third', 'fourth', 'fifth'));
  });
});

describe('what is remembered', () => {
  test('the content counts, not the name; another content or tokenizer is tokenized again', async () => {
    const first = await prepare(await file('a.jsonl', jsonl('same words')));
    let tokenized = 0;
    const onProgress = () => {
      tokenized++;
    };
    expect(await prepare(await file('renamed.ndjson', jsonl('same words')), { onProgress })).toEqual(first);
    expect(tokenized).toBe(0);
    await appendFile(join(folder, 'data', 'a.jsonl'), jsonl('more'));
    expect((await prepare(join(folder, 'data', 'a.jsonl'), { onProgress })).digest).not.toBe(first.digest);
    const other = join(folder, 'model');
    await cp(MODEL, other, { recursive: true });
    await writeFile(join(other, 'tokenizer.json'), JSON.stringify(JSON.parse(await readFile(join(MODEL, 'tokenizer.json'), 'utf8'))));
    const again = await prepare(join(folder, 'data', 'renamed.ndjson'), { modelPath: other, onProgress });
    expect(again.digest).toBe(first.digest);
    expect(again.tokenizerDigest).not.toBe(first.tokenizerDigest);
    expect(tokenized).toBe(2);
  });

  test('a shard that is gone or cut is made again', async () => {
    const path = await file('a.jsonl', jsonl('same words'));
    const first = await prepare(path);
    await store.delete(first.digest);
    expect(await prepare(path)).toEqual(first);
    await writeFile(store.pathOf!(first.digest), 'cut');
    expect(await prepare(path)).toEqual(first);
    expect(await store.verify(first.digest)).toBe('ok');
  });

  test('an entry of a larger vocabulary does not pass the check of a smaller one', async () => {
    const path = await file('a.jsonl', jsonl('same words'));
    await prepare(path);
    expect((await failure(prepare(path, { vocabularySize: 60 }))).code).toBe('TOKENIZER_MISMATCH');
  });
});

describe('bad data is named by code, file and line', () => {
  const cases: [string, string, () => string | Uint8Array, string, number | undefined, RegExp][] = [
    ['invalid JSON', 'a.jsonl', () => `${jsonl('one')}\n{"text": "tw\n`, 'DATA_MALFORMED', 3, /not valid JSON/],
    ['no object', 'a.jsonl', () => `${jsonl('one')}["text"]\n`, 'DATA_MALFORMED', 2, /not a JSON object/],
    [
      'no text',
      'a.jsonl',
      () => `${jsonl('one')}{"content":"x","id":1}`,
      'DATA_MALFORMED',
      2,
      /"text" is missing \(there are: content, id\)/,
    ],
    ['text is a number', 'a.jsonl', () => '{"text":7}', 'DATA_MALFORMED', 1, /is a number; a string or a list of messages is allowed/],
    ['text is null', 'a.jsonl', () => '{"text":null}', 'DATA_MALFORMED', 1, /is null/],
    [
      'not UTF-8',
      'a.jsonl',
      () => Buffer.concat([Buffer.from(jsonl('one')), Buffer.from([0x7b, 0xff, 0xfe])]),
      'DATA_MALFORMED',
      2,
      /UTF-8/,
    ],
    ['text not UTF-8', 'a.txt', () => Buffer.from([0x61, 0xc3, 0x28]), 'DATA_MALFORMED', 1, /UTF-8/],
    ['no gzip', 'a.jsonl.gz', () => jsonl('one'), 'DATA_MALFORMED', undefined, /gzip/],
    ['cut gzip', 'a.txt.gz', () => gzipSync('word '.repeat(9999)).subarray(0, 40), 'DATA_MALFORMED', undefined, /gzip/],
    [
      'flipped gzip',
      'a.txt.gz',
      () => {
        const bytes = gzipSync('a word, words '.repeat(99));
        bytes[bytes.length - 6]! ^= 1;
        return bytes;
      },
      'DATA_MALFORMED',
      undefined,
      /gzip/,
    ],
    ['no Parquet', 'a.parquet', () => jsonl('one').repeat(9), 'DATA_MALFORMED', undefined, /Parquet/],
    ['cut Parquet', 'a.parquet', () => parquet(['one', 'two']).subarray(0, -30), 'DATA_MALFORMED', undefined, /Parquet/],
    ['damaged pages', 'a.parquet', () => parquet(STRANGE.slice(0, 8)).fill(0xee, 60, 200), 'DATA_MALFORMED', undefined, /Parquet/],
    ['empty Parquet file', 'a.parquet', () => '', 'DATA_MALFORMED', undefined, /Parquet/],
    [
      'no text column',
      'a.parquet',
      () => Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'content', data: ['x'], type: 'STRING' }] })),
      'DATA_MALFORMED',
      undefined,
      /the column "text" is missing \(there are: content\)/,
    ],
    ['null in Parquet', 'a.parquet', () => parquet(['one', null]), 'DATA_MALFORMED', 2, /null/],
    [
      'numbers in Parquet',
      'a.parquet',
      () => Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'text', data: [5], type: 'INT32' }] })),
      'DATA_MALFORMED',
      1,
      /a number/,
    ],
    ['unknown format', 'a.xml', () => 'text\nx', 'DATA_UNSUPPORTED', undefined, /allowed are \.jsonl/],
  ];
  test.each(cases)('%s', async (_, name, content, code, line, message) => {
    const path = await file(name, content());
    const error = await failure(documentsOf({ paths: [path], fields: ['data.train_path'] }));
    expect([error.code, error.file, error.line, error.field]).toEqual([code, path, line, 'data.train_path']);
    expect(error.message).toMatch(message);
  });

  test.each([
    ['empty JSONL', 'a.jsonl', () => '\n \r\n', /at least one document/],
    ['empty documents', 'a.jsonl', () => jsonl('', ''), /holds no text/],
    ['empty text', 'a.txt', () => '', /holds no text/],
    ['Parquet without rows', 'a.parquet', () => parquet([]), /holds no text/],
  ])('%s', async (_, name, content, message) => {
    const path = await file(name, content());
    const error = await failure(prepare(path, { text: { paths: [path], fields: ['data.train_path'] } }));
    expect([error.code, error.file, error.line, error.field]).toEqual(['DATA_EMPTY', path, undefined, 'data.train_path']);
    expect(error.message).toMatch(message);
    for await (const { digest } of store.list()) throw new Error(`${digest} was stored`);
  });

  test('a bad file in a folder of good ones', async () => {
    await file('a.jsonl', jsonl('good').repeat(30_000));
    const bad = await file('b.jsonl', '{');
    const error = await failure(prepare(join(folder, 'data')));
    expect(error).toMatchObject({ code: 'DATA_MALFORMED', file: bad, line: 1, field: 'data_path' });
    expect(error.message).toMatch(/not valid JSON/);
    for await (const { digest } of store.list()) throw new Error(`${digest} was stored`);
  });

  test('nothing there, a folder without data, no permission', async () => {
    expect((await failure(prepare(join(folder, 'nowhere.jsonl')))).code).toBe('DATA_NOT_FOUND');
    await file('README.md', 'x');
    expect(await failure(prepare(join(folder, 'data')))).toMatchObject({
      code: 'DATA_UNSUPPORTED',
      message: expect.stringMatching(/holds no data file/),
    });
    const locked = await file('a.jsonl', jsonl('x'));
    await chmod(locked, 0);
    if (process.getuid?.() !== 0) expect((await failure(prepare(locked))).code).toBe('DATA_UNREADABLE'); // root may read every file
  });
});

describe('tokenizers', () => {
  test('the end token follows each document where the tokenizer puts no special token around a text', async () => {
    const json = JSON.parse(await readFile(join(MODEL, 'tokenizer.json'), 'utf8')) as object;
    await cp(join(MODEL, 'tokenizer_config.json'), join(folder, 'tokenizer_config.json'));
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify({ ...json, post_processor: null }));
    const path = await file('a.jsonl', jsonl('a b', 'c'));
    const [begin, end] = [1, 2]; // <s> and </s>
    const apart = (text: string) => original.encode(text).ids.filter((id) => id !== begin);
    expect(await idsOf(await prepare(path, { modelPath: folder }))).toEqual([...apart('a b'), end, ...apart('c'), end]);
    expect(await idsOf(await prepare(path))).toEqual(expected('a b', 'c'));
  });

  test('ids beyond the vocabulary are named with their token and place', async () => {
    const path = await file('a.jsonl', `${jsonl('a b')}${jsonl('a country of mountains')}`);
    const error = await failure(prepare(path, { vocabularySize: 300 }));
    expect(error).toMatchObject({ code: 'TOKENIZER_MISMATCH', field: 'model_path', file: path, line: 2 });
    expect(error.message).toMatch(/gives id \d+ \(".+"\).*vocab_size is 300, so ids from 0 to 299 are allowed/);
  });

  test('ids that no model can have are refused, whether a text gives them or not', async () => {
    const path = await file('a.jsonl', jsonl('x'));
    const json = JSON.parse(await readFile(join(MODEL, 'tokenizer.json'), 'utf8')) as {
      model: { vocab: Record<string, unknown> };
      added_tokens: { content: string; id: number }[];
    };
    const jsonWith = (change: (tokenizer: typeof json) => void): string => {
      const changed = structuredClone(json);
      change(changed);
      return JSON.stringify(changed);
    };
    const withId = async (change: (tokenizer: typeof json) => void) => {
      await writeFile(join(folder, 'tokenizer.json'), jsonWith(change));
      return prepare(path, { modelPath: folder });
    };
    for (const [id, text] of [
      [-5, '-5'],
      [1.5, '1.5'],
      ['7', '"7"'],
      [null, 'null'],
    ] as const) {
      const tokenizerJson = jsonWith(({ model }) => (model.vocab['country'] = id));
      const error = await failure(Promise.resolve().then(() => loadTokenizer({ tokenizerJson, configJson: '{}' })));
      expect(error).toMatchObject({ code: 'TOKENIZER_INVALID', field: 'model_path' });
      expect(error.message).toContain(`token "country" has id ${text}; whole numbers from 0 on are allowed`);
    }
    const added = await failure(withId(({ added_tokens: tokens }) => (tokens[0]!.id = -1)));
    expect(added.message).toContain('token "<unk>" has id -1');
    // Padding beyond the vocabulary is common and harmless.
    await withId(({ added_tokens: tokens }) => tokens.push({ ...tokens[0]!, content: '<pad>', id: VOCABULARY_SIZE }));
    const used = await failure(withId(({ model }) => (model.vocab['x'] = VOCABULARY_SIZE)));
    expect(used).toMatchObject({ code: 'TOKENIZER_MISMATCH', field: 'model_path' });
    expect(used.message).toContain('gives id 2048 ("x")');
  });

  test('a folder without tokenizer.json, and one that is damaged', async () => {
    const path = await file('a.jsonl', jsonl('x'));
    expect(await failure(prepare(path, { modelPath: folder }))).toMatchObject({ code: 'TOKENIZER_NOT_FOUND', field: 'model_path' });
    await writeFile(join(folder, 'tokenizer.json'), '{"version":');
    expect(await failure(prepare(path, { modelPath: folder }))).toMatchObject({ code: 'TOKENIZER_INVALID', field: 'model_path' });
    await writeFile(join(folder, 'tokenizer.json'), '{"version":"1.0","model":{"type":"Novel"}}');
    expect((await failure(prepare(path, { modelPath: folder }))).code).toBe('TOKENIZER_INVALID');
  });
});

test('can be stopped, and leaves nothing behind', async () => {
  const controller = new AbortController();
  const path = await file('a.jsonl', jsonl('many words of a text '.repeat(50)).repeat(10_000));
  const onProgress = () => controller.abort(new Error('enough'));
  await expect(prepare(path, { signal: controller.signal, onProgress })).rejects.toThrow('enough');
  for await (const { digest } of store.list()) throw new Error(`${digest} was stored`);
});

describe('a text in shards', () => {
  const SHARD = 700;
  const words = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => `the ${from + index}th document of all`);
  const bytesOf = async (digests: string[]) => Buffer.concat(await Promise.all(digests.map((digest) => store.get(digest))));
  const shards = (paths: string[], more: object = {}) =>
    prepareTokenShards({ modelPath: MODEL, text: { paths }, vocabularySize: VOCABULARY_SIZE, store, ...more }, SHARD);
  const corpus = async () => {
    const first = await file('a.jsonl', jsonl(...words(0, 90), '', ...words(90, 120)));
    const ids = new Uint32Array(1000).map((_, index) => index % 900);
    const npyHeader = `{'descr': '<u4', 'fortran_order': False, 'shape': (1000,), }\n`;
    const head = Buffer.from(`\x93NUMPY\x01\x00${String.fromCharCode(npyHeader.length)}\x00`, 'latin1');
    const tokens = await file('b.npy', Buffer.concat([head, Buffer.from(npyHeader, 'latin1'), Buffer.from(ids.buffer)]));
    return [first, tokens, await file('c.txt', words(120, 400).join('\n'))];
  };

  test('is the same text as one artifact, cut into equal parts', async () => {
    const paths = await corpus();
    const made = await shards(paths);
    const whole = await prepareTokens({ modelPath: MODEL, text: { paths }, vocabularySize: VOCABULARY_SIZE, store });
    expect(made.tokenCount).toBe(whole.tokenCount);
    expect(made.shards.length).toBeGreaterThan(4);
    expect(made.shards.slice(0, -1).every(({ tokenCount }) => tokenCount === SHARD)).toBe(true);
    expect(await bytesOf(made.shards.map(({ digest }) => digest))).toEqual(await bytesOf([whole.digest]));
    expect((await shards(paths)).shards).toEqual([whole].map(({ digest, tokenCount }) => ({ digest, tokenCount })));
  });

  test('that was broken off goes on behind the shards that are stored, to the same shards', async () => {
    const paths = await corpus();
    const elsewhere = await openArtifactStore({ folder: join(folder, 'elsewhere') });
    const undisturbed = await shards(paths, { store: elsewhere });
    const count = undisturbed.shards.length;
    for (const kept of [1, count - 1]) {
      let left = kept;
      const put: ArtifactStore['put'] = async (bytes, options) => {
        if (left-- === 0) throw new Error('the power fails');
        return store.put(bytes, options);
      };
      const failing = Object.assign(Object.create(store) as ArtifactStore, { put });
      await expect(shards(paths, { store: failing })).rejects.toThrow('the power fails');
      let stored = 0;
      const counting = Object.assign(Object.create(store) as ArtifactStore, {
        put: (...given: Parameters<ArtifactStore['put']>) => {
          stored += 1;
          return store.put(...given);
        },
      });
      expect(await shards(paths, { store: counting })).toEqual(undisturbed);
      expect(stored).toBe(count - kept);
      await rm(join(folder, 'artifacts', 'token-index'), { recursive: true });
    }
  });

  test('of which one is gone is made again from there', async () => {
    const paths = await corpus();
    const made = await shards(paths);
    await store.delete(made.shards[2]!.digest);
    expect(await shards(paths)).toEqual(made);
    expect(await store.stat(made.shards[2]!.digest)).not.toBeNull();
    expect(await rememberedTokens(store)).toEqual(new Set(made.shards.map(({ digest }) => digest)));
  });
});
