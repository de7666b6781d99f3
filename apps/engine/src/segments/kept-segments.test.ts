import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { StepReport } from '#native-engine';
import { engineV1 } from '#protocol';
import type { OpenSession } from '../session-holder.js';
import { KeptSegments } from './kept-segments.js';
import { SegmentsOfRun, type SegmentStart } from './segments-of-run.js';

const MIB = 1 << 20;
const root = mkdtempSync(join(tmpdir(), 'espalier-segments-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
const newFolder = (): string => join(root, String((folders += 1)));
const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * An engine with a folder, in which a run is trained. Where the folder had an engine before, that one has died, unless both work beside
 * each other.
 */
class Engine {
  private static readonly last = new Map<string, Engine>();
  readonly told: string[] = [];
  readonly log = Object.fromEntries(
    ['info', 'warn', 'debug'].map((level) => [level, (_: object, text: string) => void this.told.push(text)]),
  ) as never;
  readonly segments: KeptSegments;
  readonly open: Pick<OpenSession, 'session' | 'text' | 'state'>;

  constructor(
    readonly folder = newFolder(),
    { limitBytes = 10 * MIB, state = 'start', fingerprint = 'numerics', beside = false } = {},
  ) {
    if (!beside) Engine.last.get(folder)?.segments.close();
    Engine.last.set(folder, this);
    this.segments = KeptSegments.open(folder, limitBytes, this.log);
    const session = { numericsFingerprint: fingerprint, model: { weightsDigest: 'weights' }, options: { settings: { seed: 7n } } };
    this.open = { session, text: 'text', state: Promise.resolve(state) } as never;
  }

  of(keepFor = 'run', changes: Partial<engineV1.TrainRequest> = {}): SegmentsOfRun {
    const request = engineV1.TrainRequest.fromPartial({ keepFor, momentsFromStep: 3n, ...changes } as engineV1.TrainRequest);
    return new SegmentsOfRun(this.segments, this.open, request, { version: '1', build: 'b' }, this.log);
  }

  /** Keeps a segment of two steps, and returns the digest of its state. */
  async trained(bytes = 100, from = start()): Promise<string> {
    const state = Buffer.alloc(bytes, from.firstStep);
    await this.of().keep(from, [step(from.firstStep), step(from.firstStep + 1)], ended(state, from.firstStep + 2));
    return digestOf(state);
  }

  get files(): string[] {
    return readdirSync(this.folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(segment|state)$/.test(name));
  }
}

const start = (changes: Partial<SegmentStart> = {}): SegmentStart => ({
  ...{ firstStep: 4, loraLearningRate: [0.1, 0.2, 0.3], scheduledSparsity: [0.5, 0.6, 0.7], stopAtExpectedSparsity: 0.8 },
  teachers: [{ firstStep: 4, digest: undefined }],
  ...changes,
});
const step = (number: number): StepReport => ({ step: BigInt(number), loss: NaN, seconds: 1 / 3, skipped: true }) as StepReport;
function ended(stateBytes: Uint8Array, endStep = 6) {
  const result = { stateBytes, stepsDone: 2, stopped: true, openUnitsBefore: Uint8Array.of(3), state: { step: endStep, digest: '' } };
  return { result, digest: Promise.resolve(digestOf(stateBytes)) } as never;
}

test('a new process hands out what the process before it kept, with all its values', async () => {
  const first = new Engine();
  const digest = await first.trained();
  const second = new Engine(first.folder);
  expect(second.told).toEqual(['segments are kept here for their servers']);
  const found = await second.of().find(start());
  expect(found!.steps).toEqual([step(4), step(5)]);
  expect(found!.result).toMatchObject({ stepsDone: 2, stopped: false, state: { digest, step: 6 } });
  expect(digestOf(found!.result.stateBytes!)).toBe(digest);
});

test.each<[string, () => { from?: SegmentStart; of?: [string?, Partial<engineV1.TrainRequest>?]; engine?: object }]>([
  ['of another run', () => ({ of: ['another'] })],
  ['with other losses', () => ({ of: ['run', { momentsFromStep: 4n }] })],
  ['from another state', () => ({ engine: { state: 'another' } })],
  ['from a state that is not known', () => ({ engine: { state: '' } })],
  ['with other numerics', () => ({ engine: { fingerprint: 'other' } })],
  ['at another rate', () => ({ from: start({ loraLearningRate: [0.1, 0.25, 0.3] }) })],
  ['with another teacher', () => ({ from: start({ teachers: [{ firstStep: 4, digest: 'a' }] }) })],
  ['that ends at another mark', () => ({ from: start({ stopAtExpectedSparsity: 0.9 }) })],
  ['that may have one step only', () => ({ from: start({ loraLearningRate: [0.1], scheduledSparsity: [0.5] }) })],
])('a segment %s is another one', async (_, other) => {
  const engine = new Engine();
  await engine.trained();
  const { from = start(), of = [], engine: changes = {} } = other();
  expect(await new Engine(engine.folder, changes).of(...of).find(from)).toBeNull();
  const longer = start({ loraLearningRate: [0.1, 0.2, 9], scheduledSparsity: [0.5, 0.6, 9] });
  expect(await new Engine(engine.folder).of().find(longer)).not.toBeNull(); // it never came to the third step
});

test('segments go when they are recorded, those before it too, and one of the next stays', async () => {
  const engine = new Engine();
  await engine.trained();
  const second = await engine.trained(100, start({ firstStep: 6 }));
  await engine.trained(100, start({ firstStep: 8 }));
  await engine.segments.recorded(second);
  expect(engine.files).toHaveLength(2);
  await engine.segments.recorded('a state of another engine');
  expect(engine.files).toHaveLength(2);
});

test.each<[string, (path: string) => void]>([
  ['a state that lacks its end', (path) => truncateSync(`${path}.state`, 50)],
  ['a state with another byte', (path) => writeFileSync(`${path}.state`, Buffer.alloc(100, 9))],
  ['a state that is gone', (path) => rmSync(`${path}.state`)],
  ['steps that are cut', (path) => truncateSync(`${path}.segment`, 40)],
])('with %s it is trained again', async (_, damage) => {
  const engine = new Engine();
  await engine.trained();
  damage(join(engine.folder, engine.files[0]!.split('.')[0]!));
  expect(await new Engine(engine.folder).of().find(start())).toBeNull();
  expect(engine.files).toEqual([]);
});

test('where the folder is gone, nothing is found or kept, and the training goes on', async () => {
  const engine = new Engine();
  await engine.trained();
  rmSync(engine.folder, { recursive: true });
  expect(await engine.of().find(start())).toBeNull();
  await engine.trained(100, start({ firstStep: 6 }));
  await engine.segments.goesOnFrom('run', 8);
  await engine.segments.recorded('another');
  expect(engine.told.filter((text) => text.includes('ENOENT'))).toEqual([expect.stringContaining("the folder for segments can't be read")]);
});

test('for want of room the oldest segment of an earlier process goes, one of this process stays, and the want is told once', async () => {
  const before = new Engine();
  await before.trained(2 * MIB);
  const engine = new Engine(before.folder, { limitBytes: 3 * MIB });
  await engine.trained(2 * MIB, start({ firstStep: 6 }));
  expect(engine.told.filter((text) => text.includes('is discarded'))).toHaveLength(1);
  for (const firstStep of [8, 10]) await engine.trained(2 * MIB, start({ firstStep }));
  expect(engine.files).toHaveLength(2);
  expect(engine.told.filter((text) => text.includes(' for a segment of 2'))).toHaveLength(1);
});

test('a segment that found no room is recorded too, and those before it go', async () => {
  const engine = new Engine(newFolder(), { limitBytes: 3 * MIB });
  await engine.trained(2 * MIB);
  const notKept = await engine.trained(2 * MIB, start({ firstStep: 6 }));
  expect(engine.files).toHaveLength(2);
  await engine.segments.recorded(notKept);
  expect(engine.files).toEqual([]);
});

test('what no server has asked for in a week goes at a start, and so does what a killed process had begun to write', async () => {
  const engine = new Engine();
  await engine.trained();
  await engine.trained(100, start({ firstStep: 6 }));
  const old = engine.files[0]!.split('.')[0]!;
  const at = Date.now() / 1_000 - 8 * 86_400;
  for (const kind of ['segment', 'state']) utimesSync(join(engine.folder, `${old}.${kind}`), at, at);
  const again = new Engine(engine.folder);
  expect(again.told.filter((text) => text.includes('is discarded'))).toHaveLength(1);
  expect(again.files).toHaveLength(2);
});

test('engines that share a folder leave each other what they have, and one that has died leaves it to the next that asks', async () => {
  const one = new Engine();
  await one.trained(2 * MIB);
  const other = new Engine(one.folder, { limitBytes: 3 * MIB, beside: true });
  await other.trained(2 * MIB, start({ firstStep: 6 }));
  await other.trained(2 * MIB, start({ firstStep: 8 }));
  expect(one.files).toHaveLength(4);
  other.open.state = Promise.resolve('start');
  expect(await other.of().find(start())).toBeNull();
  one.segments.close();
  expect(await other.of().find(start())).not.toBeNull();
});

test('a segment of an earlier build, which lies in the folder itself, is handed out', async () => {
  const engine = new Engine();
  await engine.trained();
  for (const file of engine.files) renameSync(join(engine.folder, file), join(engine.folder, basename(file)));
  expect(await new Engine(engine.folder).of().find(start())).not.toBeNull();
});

test('what an earlier process has trained before the step that its run goes on from is no longer kept', async () => {
  const engine = new Engine();
  await engine.trained();
  await engine.trained(100, start({ firstStep: 6 }));
  const again = new Engine(engine.folder);
  await again.segments.goesOnFrom('another run', 100);
  await again.segments.goesOnFrom('run', 5);
  expect(again.files).toHaveLength(4);
  await again.segments.goesOnFrom('run', 6);
  expect(again.files).toHaveLength(2);
  await again.trained(100, start({ firstStep: 8 }));
  await again.segments.goesOnFrom('run', 10); // its own segment is not recorded yet
  expect(again.files).toHaveLength(2);
});

test('a link that leads nowhere is told as one', () => {
  const link = newFolder();
  symlinkSync('nowhere', link);
  expect(() => new Engine(link)).toThrow('it is a link to nowhere, which is not there');
});

test('a path through a file is told as one, with a code', () => {
  const file = newFolder();
  writeFileSync(file, '');
  for (const path of [file, join(file, 'below')])
    expect(() => new Engine(path)).toThrow(
      expect.objectContaining({
        code: 'SPOOL_UNUSABLE',
        message: expect.stringContaining('a file stands where a folder of its path should be'),
      }),
    );
});

test('a folder that other users may write to is refused, since they could put other results there', () => {
  const folder = newFolder();
  mkdirSync(folder);
  chmodSync(folder, 0o777);
  expect(() => new Engine(folder)).toThrow('other users may write to it');
});

test('a folder with other files is refused', () => {
  const folder = newFolder();
  mkdirSync(folder);
  writeFileSync(join(folder, 'thesis.tex'), '');
  expect(() => new Engine(folder)).toThrow(
    'it holds "thesis.tex", and no file espalier-segments, by which engines know a folder of theirs',
  );
  expect(existsSync(join(folder, 'espalier-segments'))).toBe(false);
});
