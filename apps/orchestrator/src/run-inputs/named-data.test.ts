import type { DataIdentity } from '../pruning-run/record/pruning-run.events.js';
import { type DataSource, namedData, requireEnoughBytes, validationText } from './named-data.js';

const parent: DataIdentity = {
  trainPath: '/parent.jsonl',
  trainDigest: 'a'.repeat(64),
  trainTokens: 500,
  tokenizerDigest: 'b'.repeat(64),
  validationPath: '/valid.jsonl',
  validationDigest: 'c'.repeat(64),
  validationTokens: 70,
  maxValidationTokens: 70,
  textColumn: 'content',
};
const source = (more: Partial<DataSource> = {}): DataSource => ({ trainPath: '/own.jsonl', validationPath: '', ...more });
const refusal = (given: DataSource, of?: DataIdentity): unknown => {
  try {
    return namedData(given, of);
  } catch (error) {
    return error;
  }
};

test("a fork keeps the tokens and the reading of its parent's validation text", () => {
  const data = namedData(source(), parent);
  expect(data).toEqual({
    trainPath: '/own.jsonl',
    trainDigest: '',
    trainTokens: 0,
    tokenizerDigest: '',
    validationPath: '/valid.jsonl',
    validationDigest: 'c'.repeat(64),
    validationTokens: 70,
    maxValidationTokens: 70,
    validationTextColumn: 'content',
  });
  expect(validationText(data)).toMatchObject({ paths: ['/valid.jsonl'], textColumn: 'content', maxTokens: 70 });
});

test('a column that was found by itself is found so again, whatever the column of the new text', () => {
  const { textColumn: _, ...byItself } = parent;
  const data = namedData(source({ textColumn: 'answer' }), byItself);
  expect(data).toMatchObject({ textColumn: 'answer', validationTextColumn: '' });
  expect(validationText(data)).not.toHaveProperty('textColumn');
  expect(namedData(source(), byItself)).not.toHaveProperty('validationTextColumn');
});

test('another text, none at all, and a parent without one', () => {
  expect(namedData(source({ validationPath: '/own' }), parent)).toMatchObject({ validationPath: '/own', validationDigest: null });
  expect(namedData(source({ withoutValidation: true }), parent)).toMatchObject({ validationPath: null, validationDigest: null });
  const without = { ...parent, validationPath: null, validationDigest: null };
  expect(namedData(source(), without)).toMatchObject({ validationPath: null, validationDigest: null });
  expect(namedData(source())).toMatchObject({ validationPath: null, validationDigest: null });
});

test.each([
  ['words about a text that is not named', source({ moreValidationPaths: ['/b'] }), 'FIELD_REQUIRED', 'data.validation_path'],
  ['a column of it', source({ validationTextColumn: 'x' }), 'FIELD_REQUIRED', 'data.validation_path'],
  ['a limit of one that is kept', source({ maxValidationTokens: 3 }), 'FIELD_REQUIRED', 'data.validation_path'],
  ['a text and none', source({ validationPath: '/v', withoutValidation: true }), 'REQUEST_INVALID', 'data.without_validation'],
])('%s are refused', (_, given, code, field) => expect(refusal(given, parent)).toMatchObject({ code, field }));

test('a text whose files are too small for a batch is refused before any of it is read, unless it may be packed', () => {
  const batch = { what: 'a batch (batch_size times sequence_length)', needed: 1_024 };
  const refused = (path: string, bytes: number) => {
    try {
      requireEnoughBytes({ paths: [path], fields: ['data.train_path'] }, bytes, batch);
      return null;
    } catch (error) {
      return error;
    }
  };
  expect(refused('/text.jsonl', 30)).toMatchObject({
    code: 'DATA_TOO_SHORT',
    message: 'data.train_path: has 30 bytes, at most 92 tokens; a batch (batch_size times sequence_length) takes 1024',
  });
  expect(refused('/text.jsonl', 400)).toBeNull(); // its tokens have to be counted
  for (const packed of ['/text.jsonl.zst', '/text.parquet', '/folder']) expect(refused(packed, 30)).toBeNull();
});
