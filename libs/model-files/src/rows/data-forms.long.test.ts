// Tests the same documents in each form that users have them in: the tokens are those of the documents, whatever the form.
import { execFileSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as library from '@huggingface/tokenizers';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { ModelFilesError, prepareTokens, type TextSource } from '../index.js';

const MODEL = 'examples/models/factbook-llama-3m';
const TEXTS = ['A village, "Höhe" 3 m.', 'Two\nlines; and a comma, too.', ' spaces  and\ttabs '];

interface OriginalTokenizer {
  encode(text: string, options?: { add_special_tokens: boolean }): { ids: number[] };
}
let folder: string;
let store: ArtifactStore;
let original: OriginalTokenizer;

beforeAll(async () => {
  const read = async (name: string) => JSON.parse(await readFile(join(MODEL, name), 'utf8')) as object;
  const Original = library.Tokenizer as unknown as new (tokenizer: object, config: object) => OriginalTokenizer;
  original = new Original(await read('tokenizer.json'), await read('tokenizer_config.json'));
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'data-forms-'));
  store = await openArtifactStore({ folder: join(folder, 'artifacts') });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, 'data', name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, content);
  return path;
}
async function tokensOf(text: TextSource, modelPath = MODEL): Promise<number[]> {
  const { digest } = await prepareTokens({ modelPath, text, vocabularySize: 2048, store });
  const bytes = await store.get(digest);
  return Array.from(new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)));
}
async function refusal(text: TextSource, modelPath = MODEL): Promise<ModelFilesError> {
  const error: unknown = await tokensOf(text, modelPath).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ModelFilesError);
  return error as ModelFilesError;
}
const expected = (texts = TEXTS) => texts.flatMap((text) => original.encode(text).ids);
const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
const rows = (column = 'text') => TEXTS.map((text, id) => ({ id, [column]: text }));

const FORMS: Record<string, (column: string) => string | Uint8Array> = {
  'rows.jsonl': (column) =>
    rows(column)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(''),
  'array.json': (column) => JSON.stringify(rows(column), null, 2),
  'lines.json': (column) =>
    rows(column)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(''),
  'rows.csv': (column) => `id,${column}\r\n${TEXTS.map((text, id) => `${id},${quoted(text)}\r\n`).join('')}`,
  'rows.tsv': (column) => `id\t${column}\n${TEXTS.map((text, id) => `${id}\t${quoted(text)}\n`).join('')}`,
  'rows.parquet': (column) => new Uint8Array(parquetWriteBuffer({ columnData: [{ name: column, data: TEXTS, type: 'STRING' }] })),
};

describe.each(Object.keys(FORMS))('%s', (name) => {
  test('holds the documents, under the usual name and another, packed and with a byte order mark', async () => {
    expect(await tokensOf({ paths: [await file(name, FORMS[name]!('text'))] })).toEqual(expected());
    expect(await tokensOf({ paths: [await file(name, FORMS[name]!('content'))], textColumn: 'content' })).toEqual(expected());
    expect(await tokensOf({ paths: [await file(`${name}.gz`, gzipSync(FORMS[name]!('text')))] })).toEqual(expected());
    if (name.endsWith('parquet')) return;
    expect(await tokensOf({ paths: [await file(name, `\ufeff${FORMS[name]!('text') as string}`)] })).toEqual(expected());
  });

  test('names the columns that there are where the one with the text is missing', async () => {
    const path = await file(name, FORMS[name]!('content'));
    const error = await refusal({ paths: [path], fields: ['data.train_path'] });
    expect(error).toMatchObject({ code: 'DATA_MALFORMED', field: 'data.train_path', file: path });
    expect(error.message).toMatch(/"text" is missing \(there are: (id, )?content\); text_column names/);
  });
});

test('of very many columns the first are named', async () => {
  const names = Array.from({ length: 20_000 }, (_, index) => `c${index}`);
  const path = await file('wide.csv', `${names.join(',')}\n${names.join(',')}\n`);
  const { message } = await refusal({ paths: [path] });
  expect(message).toMatch(/there are: c0, c1, .*, c19 and 19980 more\)/);
  expect(message.length).toBeLessThan(1_000);
});

test('several paths are read in their order, and an error names the field of its own', async () => {
  const [one, two] = [await file('1/a.jsonl', '{"text":"one"}\n'), await file('2.csv', 'text\ntwo\n')];
  expect(await tokensOf({ paths: [two, join(one, '..')] })).toEqual(expected(['two', 'one']));
  const bad = await file('3/bad.jsonl', '{"text":1}\n');
  const fields = ['data.train_path', 'data.more_train_paths[0]'];
  expect(await refusal({ paths: [one, join(bad, '..')], fields })).toMatchObject({ field: fields[1], file: bad, line: 1 });
  expect(await refusal({ paths: [one, join(folder, 'none')], fields })).toMatchObject({ code: 'DATA_NOT_FOUND', field: fields[1] });
});

test('a folder of other data has .json and .csv files that describe it', async () => {
  await file('set/dataset_infos.json', '{"default": {}}');
  const data = await file('set/train.jsonl', '{"text":"one"}\n');
  expect(await tokensOf({ paths: [join(data, '..')] })).toEqual(expected(['one']));
  const csv = await file('sheets/part.csv', 'text\ntwo\n');
  expect(await tokensOf({ paths: [join(csv, '..')] })).toEqual(expected(['two']));
});

test('a limit takes exactly so many tokens from the front, and all of them where there are fewer', async () => {
  const paths = [await file('rows.jsonl', FORMS['rows.jsonl']!('text'))];
  expect(await tokensOf({ paths, maxTokens: 7 })).toEqual(expected().slice(0, 7));
  expect(await tokensOf({ paths })).toEqual(expected());
  expect(await tokensOf({ paths, maxTokens: 1_000_000 })).toEqual(expected());
});

test.each([
  ['rows.csv', 'text\n"open', /no valid CSV .*Quote Not Closed/],
  ['rows.csv', 'text,other\none\n', /line 2: no valid CSV/],
  ['array.json', '[{"text":"one"},{"text"', /line 2: not valid JSON/],
  ['array.json', '[{"text":"one"}] more', /not valid JSON/],
  ['array.json', '["one"]', /line 1: not a JSON object/],
  ['lines.json', '{\n  "text": "one"\n}', /line 1: not valid JSON/],
  ['rows.csv', Buffer.from([0x74, 0x65, 0x78, 0x74, 10, 0xff, 10]), /not valid UTF-8/],
  ['array.json', Buffer.from('[{"text":"\xff"}]', 'latin1'), /not valid UTF-8/],
])('%s that holds %j is refused', async (name, content, message) => {
  const error = await refusal({ paths: [await file(name, content)] });
  expect(error.code).toBe('DATA_MALFORMED');
  expect(error.message).toMatch(message);
});

const ALPACA = [
  { instruction: 'Name a village.', input: '', output: 'Zelden.' },
  { instruction: 'Where is it?', input: 'Zelden', output: ' In the north.\nIt is small.' },
];
const PROMPTS = [
  'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' +
    '### Instruction:\nName a village.\n\n### Response:\n',
  'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that ' +
    'appropriately completes the request.\n\n### Instruction:\nWhere is it?\n\n### Input:\nZelden\n\n### Response:\n',
];
const END = 2;
const CONTEXT = 0x8000_0000;
const lines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
/** Splits words into token ids and the words that are learned, which are not only context. */
const split = (words: number[]): { ids: number[]; learned: number[] } => ({
  ids: words.map((word) => (word & ~CONTEXT) >>> 0),
  learned: words.filter((word) => word < CONTEXT),
});

describe('instructions', () => {
  const whole = ALPACA.flatMap(({ output }, index) => [PROMPTS[index]! + output]);
  const ids = () => whole.flatMap((text) => [...original.encode(text).ids, END]);
  const forms = {
    'alpaca.json': JSON.stringify(ALPACA),
    'alpaca.jsonl': lines(ALPACA),
    'alpaca.csv': `instruction,input,output\n${ALPACA.map((row) => Object.values(row).map(quoted).join(',')).join('\n')}\n`,
    'alpaca.parquet': new Uint8Array(
      parquetWriteBuffer({
        columnData: ['output', 'instruction', 'input'].map((name) => ({
          name,
          data: ALPACA.map((row) => row[name as 'input']),
          type: 'STRING' as const,
        })),
      }),
    ),
  };

  test.each(Object.entries(forms))('%s becomes the published prompt, its answer and the end token', async (name, content) => {
    expect(await tokensOf({ paths: [await file(name, content)] })).toEqual(ids());
  });

  test.each(Object.entries(forms))('of %s the answers and their end alone are learned', async (name, content) => {
    const { ids: all, learned } = split(await tokensOf({ paths: [await file(name, content)], responseOnly: true }));
    expect(all).toEqual(ids());
    const answers = whole.flatMap((text, index) => {
      const [before, tokens] = [original.encode(PROMPTS[index]!).ids, original.encode(text).ids];
      return [...tokens.slice(tokens.findIndex((id, at) => id !== before[at])), END];
    });
    expect(learned).toEqual(answers);
  });

  test('a row may lack an input, and also be there as one text, which counts unless only responses are learned', async () => {
    const [{ instruction, output }] = ALPACA as [(typeof ALPACA)[0]];
    const both = [{ text: 'all of it', instruction, output }];
    const paths = [await file('both.jsonl', lines(both))];
    expect(await tokensOf({ paths })).toEqual(expected(['all of it']));
    expect(split(await tokensOf({ paths, responseOnly: true })).ids).toEqual([...original.encode(whole[0]!).ids, END]);
  });

  test.each([
    [{ instruction: 'x', input: 1, output: 'y' }, 'DATA_MALFORMED', /"input" is a number; a string/],
    [{ instruction: 'x', output: null }, 'DATA_MALFORMED', /"output" is null; a string/],
    [{ instruction: 'x' }, 'DATA_MALFORMED', /"text" is missing .*"instruction" and "output", are found by themselves/],
  ] as const)('%j is refused', async (row, code, message) => {
    const error = await refusal({ paths: [await file('bad.jsonl', lines([row]))] });
    expect(error).toMatchObject({ code, line: 1 });
    expect(error.message).toMatch(message);
  });

  test('text without responses has none to learn', async () => {
    for (const [name, content] of [
      ['t.jsonl', lines([{ text: 'plain' }])],
      ['t.txt', 'plain'],
      ['t.parquet', FORMS['rows.parquet']!('text')],
      ['t.csv', FORMS['rows.csv']!('text')],
    ] as const) {
      const error = await refusal({ paths: [await file(name, content)], responseOnly: true, fields: ['data.train_path'] });
      expect(error).toMatchObject({ code: 'DATA_MALFORMED', field: 'data.train_path' });
      expect(error.message).toMatch(/plain text.*response_only is for conversations/);
    }
  });
});

describe('conversations', () => {
  const CHAT = [
    { role: 'user', content: ' Where is it? ' },
    { role: 'assistant', content: 'In <s> Europe.' },
  ];
  const TEMPLATE =
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('roles: user, assistant') }}" +
    '{% endif %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}{% endfor %}';
  const RENDERED = '<s>[user] Where is it?</s>[assistant] In <s> Europe.</s>';
  const chats = (...all: unknown[]) => file('chats.jsonl', all.map((messages) => `${JSON.stringify({ messages })}\n`).join(''));
  const withTemplate = async (template: string | null, name = 'chat_template.jinja'): Promise<string> => {
    const model = join(folder, 'model');
    await cp(MODEL, model, { recursive: true });
    if (template !== null) await writeFile(join(model, name), template);
    return model;
  };

  test('become text by the template of the model, whose own tokens start and end it', async () => {
    const model = await withTemplate(TEMPLATE);
    const ids = await tokensOf({ paths: [await chats(CHAT, CHAT)], textColumn: 'messages' }, model);
    const once = original.encode(RENDERED, { add_special_tokens: false }).ids;
    expect(ids).toEqual([...once, ...once]);
    expect(once.filter((id) => id === 1)).toHaveLength(2); // the template writes one, the assistant's answer the other
  });

  test('the template may stand in tokenizer_config.json, and may have a name there', async () => {
    const model = await withTemplate(null);
    const config = JSON.parse(await readFile(join(model, 'tokenizer_config.json'), 'utf8')) as object;
    const text = { paths: [await chats(CHAT)], textColumn: 'messages' };
    const once = original.encode(RENDERED, { add_special_tokens: false }).ids;
    for (const chat_template of [
      TEMPLATE,
      [
        { name: 'tools', template: 'x' },
        { name: 'default', template: TEMPLATE },
      ],
    ]) {
      await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ ...config, chat_template }));
      expect(await tokensOf(text, model)).toEqual(once);
    }
  });

  test('another template gives other tokens, also for a text that was tokenized before; the day gives none', async () => {
    const text = { paths: [await chats(CHAT)], textColumn: 'messages' };
    const first = await tokensOf(text, await withTemplate(TEMPLATE));
    const second = await tokensOf(text, await withTemplate("{{ strftime_now('%d %b %Y') }}"));
    expect(second).toEqual(original.encode('26 Jul 2024', { add_special_tokens: false }).ids);
    expect(second).not.toEqual(first);
  });

  test('are refused with the place and the reason', async () => {
    const text = async (...all: unknown[]): Promise<TextSource> => ({ paths: [await chats(...all)], textColumn: 'messages' });
    expect((await refusal(await text(CHAT))).message).toMatch(/the model has no chat template/);
    const model = await withTemplate(TEMPLATE);
    const refused: [unknown, RegExp][] = [
      [[], /"messages" is an empty list/],
      [[{ role: 'user' }], /"messages\[0\]" is not a message/],
      [[{ role: 'tool', content: 'x' }], /does not take "messages": roles: user, assistant/],
      [{ role: 'user' }, /"messages" is an object; a string or a list of messages/],
    ];
    for (const [messages, message] of refused) {
      const error = await refusal(await text(CHAT, messages), model);
      expect(error).toMatchObject({ code: 'DATA_MALFORMED', line: 2 });
      expect(error.message).toMatch(message);
    }
    expect((await refusal(await text(CHAT), await withTemplate('{% for m in'))).message).toMatch(/does not take "messages"/);
  });

  const MARKED =
    '{{ bos_token }}{% for m in messages %}<{{ m.role }}> {{ m.content }}{{ eos_token }}\n{% endfor %}' +
    '{% if add_generation_prompt %}<assistant> {% endif %}';
  const TALK = [...CHAT, { role: 'user', content: 'And then?' }, { role: 'assistant', content: 'It ends.' }];

  test('are found without their column being named, in Parquet too', async () => {
    const model = await withTemplate(TEMPLATE);
    const once = original.encode(RENDERED, { add_special_tokens: false }).ids;
    expect(await tokensOf({ paths: [await chats(CHAT)] }, model)).toEqual(once);
    const json = parquetWriteBuffer({ columnData: [{ name: 'messages', data: [CHAT, CHAT], type: 'JSON' }] });
    const nested = parquetWriteBuffer({
      columnData: [
        { name: 'id', data: ['a', 'b'] },
        { name: 'messages', data: [CHAT, CHAT] },
      ],
      schema: [
        { name: 'root', num_children: 2 },
        { name: 'id', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
        { name: 'messages', repetition_type: 'OPTIONAL', converted_type: 'LIST', num_children: 1 },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'OPTIONAL', num_children: 2 },
        { name: 'role', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
        { name: 'content', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
      ],
      rowGroupSize: [1],
    });
    for (const [name, content] of [['json.parquet', json] as const, ['nested.parquet', nested] as const]) {
      const path = await file(name, new Uint8Array(content));
      expect(await tokensOf({ paths: [path] }, model)).toEqual([...once, ...once]);
    }
  });

  test('of which only the responses are learned, each with what ends it', async () => {
    const model = await withTemplate(MARKED);
    const { ids, learned } = split(await tokensOf({ paths: [await chats(TALK)], responseOnly: true }, model));
    const encode = (text: string) => original.encode(text, { add_special_tokens: false }).ids;
    const texts = [
      '<s><user>  Where is it? </s>\n<assistant> ',
      'In <s> Europe.</s>\n',
      '<user> And then?</s>\n<assistant> ',
      'It ends.</s>\n',
    ];
    expect(ids).toEqual(encode(texts.join('')));
    const { decode } = original as unknown as { decode: (ids: number[], options: object) => string };
    const text = decode.call(original, learned, { skip_special_tokens: false });
    expect(text.replaceAll(/\s+/g, '')).toBe('In<s>Europe.</s>Itends.</s>');
    const plain = await tokensOf({ paths: [await chats(TALK)] }, model);
    expect(plain).toEqual(ids);
  });

  test('that the template does not write piece by piece are refused, and so are those without a response', async () => {
    const paths = [await chats(TALK)];
    const rewriting = await withTemplate('{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}');
    const error = await refusal({ paths, responseOnly: true }, rewriting);
    expect(error).toMatchObject({ code: 'DATA_UNSUPPORTED', line: 1 });
    expect(error.message).toMatch(/can't tell the response "messages\[1\]"/);
    const silent = [await chats([{ role: 'user', content: 'Hello?' }])];
    expect((await refusal({ paths: silent, responseOnly: true }, await withTemplate(MARKED))).message).toMatch(/holds no response/);
  });
});

describe('text packed by zstd', () => {
  const zstd = (text: string | Uint8Array, ...options: string[]): Buffer => execFileSync('zstd', ['-q', '-c', ...options], { input: text });

  test('holds the documents, whatever its frames, its window and its sums', async () => {
    const lines = FORMS['rows.jsonl']!('text') as string;
    const whole = zstd(lines.repeat(3000), '--check', '-3');
    expect(await tokensOf({ paths: [await file('rows.jsonl.zst', whole)] })).toEqual(Array.from({ length: 3000 }, () => expected()).flat());
    const frames = Buffer.concat([zstd(lines, '--no-check'), zstd(lines, '-19', '--long=27'), zstd(lines)]);
    expect(await tokensOf({ paths: [await file('rows.jsonl.zst', frames)] })).toEqual([...expected(), ...expected(), ...expected()]);
    expect(await tokensOf({ paths: [await file('rows.parquet.zst', zstd(FORMS['rows.parquet']!('text')))] })).toEqual(expected());
  });

  test('is refused where it is cut off, damaged, or unpacks to too much', async () => {
    const whole = zstd(FORMS['rows.jsonl']!('text'));
    for (const damaged of [
      whole.subarray(0, whole.length - 5),
      Buffer.concat([whole.subarray(0, 20), Buffer.alloc(40, 7)]),
      Buffer.from('{}'),
    ])
      expect(await refusal({ paths: [await file('rows.jsonl.zst', damaged)] })).toMatchObject({ code: 'DATA_MALFORMED' });
    const bomb = await file('rows.jsonl.zst', zstd(Buffer.alloc(64 << 20, ' ')));
    expect(await refusal({ paths: [bomb] })).toMatchObject({ code: 'DATA_TOO_LARGE', file: bomb });
  });
});

describe('text that is tokens already', () => {
  const IDS = [0, 1, 2047, 300, 5, 6];
  const numpy = (descr: string, shape: string, data: Uint8Array, order = 'False'): Buffer => {
    const header = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape}), }`.padEnd(117) + '\n';
    return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), Buffer.from([118, 0]), Buffer.from(header), data]);
  };
  const bytesOf = (array: NodeJS.TypedArray): Buffer => Buffer.from(array.buffer);
  const index = (type: number, lengths: number[]): Buffer => {
    const header = Buffer.alloc(34);
    header.write('MMIDIDX\0\0', 'latin1');
    header.writeBigUInt64LE(1n, 9);
    header[17] = type;
    header.writeBigUInt64LE(BigInt(lengths.length), 18);
    header.writeBigUInt64LE(BigInt(lengths.length + 1), 26);
    return Buffer.concat([header, bytesOf(Int32Array.from(lengths)), Buffer.alloc(16 * lengths.length + 8)]);
  };

  test.each([
    ['<u2', bytesOf(Uint16Array.from(IDS))],
    ['<i4', bytesOf(Int32Array.from(IDS))],
    ['<u4', bytesOf(Uint32Array.from(IDS))],
    ['<i8', bytesOf(BigInt64Array.from(IDS.map(BigInt)))],
  ])('an array of numpy of %s is taken as it is', async (descr, data) => {
    expect(await tokensOf({ paths: [await file('ids.npy', numpy(descr, '6,', data))] })).toEqual(IDS);
    expect(await tokensOf({ paths: [await file('ids.npy', numpy(descr, '2, 3', data))] })).toEqual(IDS);
    expect(await tokensOf({ paths: [await file('ids.npy.gz', gzipSync(numpy(descr, '6,', data)))] })).toEqual(IDS);
  });

  test('the .bin of Megatron is read by the .idx beside it, and other text goes on behind it', async () => {
    await file('corpus.idx', index(8, [4, 2]));
    const corpus = await file('corpus.bin', bytesOf(Uint16Array.from(IDS)));
    expect(await tokensOf({ paths: [corpus] })).toEqual(IDS);
    const rest = await file('rows.jsonl', FORMS['rows.jsonl']!('text'));
    expect(await tokensOf({ paths: [rest, corpus, rest] })).toEqual([...expected(), ...IDS, ...expected()]);
    expect(await tokensOf({ paths: [join(folder, 'data')] })).toEqual([...IDS, ...expected()]);
    await file('corpus.idx', index(4, [3])); // the index reads the same bytes as other numbers
    expect(await refusal({ paths: [corpus] })).toMatchObject({ code: 'TOKENIZER_MISMATCH' });
  });

  test.each<[string, () => Promise<string>, object, RegExp]>([
    [
      'an id of another model',
      async () => file('ids.npy', numpy('<u2', '2,', bytesOf(Uint16Array.of(7, 2048)))),
      {},
      /token 1 of .* is 2048.*0 to 2047/,
    ],
    ['a negative id', async () => file('ids.npy', numpy('<i8', '1,', bytesOf(BigInt64Array.of(-1n)))), {}, /token 0 of .* is -1/],
    ['numbers with a point', async () => file('ids.npy', numpy('<f4', '1,', bytesOf(Float32Array.of(1)))), {}, /"<f4"; whole numbers/],
    [
      'an end that is missing',
      async () => file('ids.npy', numpy('<u2', '3,', bytesOf(Uint16Array.of(1, 2)))),
      {},
      /ends after 2 of 3 tokens/,
    ],
    ['more than it tells of', async () => file('ids.npy', numpy('<u2', '1,', bytesOf(Uint16Array.of(1, 2)))), {}, /more than the 1 tokens/],
    ['columns', async () => file('ids.npy', numpy('<u2', '1, 2', bytesOf(Uint16Array.of(1, 2)), 'True')), {}, /row by row/],
    ['other bytes', async () => file('ids.npy', 'no array, but some text'), {}, /no array of numpy/],
    [
      'no response',
      async () => file('ids.npy', numpy('<u2', '1,', bytesOf(Uint16Array.of(1)))),
      { responseOnly: true },
      /a file of tokens has no response/,
    ],
    ['no index', async () => file('alone.bin', bytesOf(Uint16Array.of(1))), {}, /there is no file .*alone\.idx/],
  ])('is refused where it has %s', async (_, written, options, words) => {
    const error = await refusal({ paths: [await written()], fields: ['data.train_path'], ...options });
    expect(error.message).toMatch(words);
    expect(error.code).toMatch(/^(TOKENIZER_MISMATCH|DATA_MALFORMED|DATA_NOT_FOUND)$/);
  });
});
