// Tests that a flipped byte anywhere in a bundle is found and named (every byte of a small bundle with ESPALIER_EXHAUSTIVE=1).
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkAuditBundle, publicKeyHex, signAuditBundle, type BundleReport } from '#audit';
import { digestOf, openArtifactStore, type ArtifactStore } from '#artifact-store';
import type { EventStore, StoredEvent } from '#event-store';
import { v1 } from '#protocol';
import { fact, launched, stateAt, Story } from '../pruning-run/testing.js';
import type { NewFact, StateFact } from '../pruning-run/record/pruning-run.events.js';
import { Recorder } from '../views/testing.js';
import { exportAudit } from './audit-export.js';
import type { VerifyContext } from './verify-context.js';

const PARENT = 'aaaabbbbcccc';
const CHILD = 'bbbbccccdddd';
let folder: string;
let artifacts: ArtifactStore;

/** A state whose artifact really is in the store. */
async function storedState(step: number, expectedSparsity: number): Promise<StateFact> {
  const bytes = Buffer.from(`state after step ${step}`);
  const { digest } = await artifacts.put(bytes);
  return { ...stateAt(step, expectedSparsity), stateDigest: digest, stateBytes: bytes.byteLength };
}

/** A store that reads recorded events as the event store would deliver them. */
function storeOf(events: StoredEvent[]): EventStore {
  return {
    read: (stream: string) =>
      (async function* () {
        for (const event of events) if (event.stream === stream) yield event;
      })(),
  } as unknown as EventStore;
}

async function contextOf(): Promise<VerifyContext> {
  const story = new Story(launched({ totalSteps: 20, segmentSteps: 10 }, PARENT)).start().train(await storedState(10, 0.012));
  const recorder = new Recorder().record(PARENT, story.facts);
  const parent = story.state;
  const child: NewFact = fact('RunForked', {
    ...(launched({}, CHILD).data as Extract<NewFact, { type: 'RunLaunched' }>['data']),
    parentRunId: PARENT,
    parentRevision: parent.revision,
    from: parent.current!,
    teacherMark: 1,
    overrides: {},
    inheritedTeachers: [{ mark: 1, threshold: 0.01, state: parent.current!, ownerRunId: PARENT }],
    targetReachedStep: null,
  });
  recorder.record(CHILD, [child]);
  const views = {
    runId: (text: string) => Promise.resolve(text),
    database: { prepare: () => ({ all: (runId: string) => (runId === CHILD ? [{ runId: PARENT }] : []) }) },
  };
  return {
    views: views as never,
    store: storeOf(recorder.events),
    artifacts,
    borrowEngines: () => {
      throw new Error('not here');
    },
    runs: { change: () => Promise.reject(new Error('nothing is recorded here')) },
    condition: { missing: null },
  };
}

async function bundleOf(context: VerifyContext, includeSnapshots = true): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const { chunk } of exportAudit(
    context,
    v1.ExportAuditRequest.fromPartial({ runId: CHILD, includeSnapshots }),
    new AbortController().signal,
    () => undefined,
  ))
    chunks.push(chunk);
  return Buffer.concat(chunks);
}
const check = async (bytes: Buffer): Promise<BundleReport> => {
  const file = join(folder, 'checked.tar');
  await writeFile(file, bytes);
  return checkAuditBundle(file);
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bundle-'));
  artifacts = await openArtifactStore({ folder: join(folder, 'artifacts') });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a bundle of a fork is whole, holds its ancestor and its snapshots, and says who instructed', async () => {
  const report = await check(await bundleOf(await contextOf()));
  expect(report.problems).toEqual([]);
  expect(report).toMatchObject({ ok: true, artifacts: 1, signature: 'none' });
  expect(report.runs.map(({ runId }) => runId).sort()).toEqual([PARENT, CHILD]);
  expect(report.manifest?.runs[0]?.runId).toBe(CHILD);
  expect(report.manifest?.runs[1]?.lastRevision).toBeGreaterThan(3);
});

// All bytes take half a minute. Every 31st still meets each kind of field, which is enough between releases.
const STRIDE = process.env['ESPALIER_EXHAUSTIVE'] === undefined ? 31 : 1;

test('a flipped byte anywhere in a signed bundle is found', async () => {
  const file = join(folder, 'run.audit');
  await writeFile(file, await bundleOf(await contextOf()));
  const { privateKey } = generateKeyPairSync('ed25519');
  await signAuditBundle(file, privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
  const whole = await readFile(file);
  expect((await check(whole)).ok).toBe(true);
  const missed: number[] = [];
  for (let at = 0; at < whole.byteLength; at += STRIDE) {
    whole[at]! ^= 1;
    const report = await check(whole);
    whole[at]! ^= 1;
    if (report.ok || report.problems.some(({ subject, detail }) => subject === '' || detail === '')) missed.push(at);
  }
  expect(missed).toEqual([]);
});

test('a flipped byte in an event names the run and the revision, one in a snapshot its digest', async () => {
  const whole = await bundleOf(await contextOf());
  const at = whole.indexOf('TeacherAssigned');
  const explanation = whole.indexOf('fewer than', at);
  whole[explanation]! ^= 1;
  expect((await check(whole)).problems).toContainEqual(
    expect.objectContaining({ check: 'chain', subject: expect.stringMatching(/^run aaaabbbbcccc revision \d+$/) as string }),
  );
  whole[explanation]! ^= 1;
  whole[whole.indexOf('state after step 10')]! ^= 1;
  const digest = digestOf(Buffer.from('state after step 10'));
  expect((await check(whole)).problems).toContainEqual(expect.objectContaining({ check: 'artifacts', subject: `artifact ${digest}` }));
});

test('a bundle that is cut off anywhere, or goes on, is refused', async () => {
  const whole = await bundleOf(await contextOf());
  for (const length of [0, 1, 511, 512, 5000, whole.byteLength - 1024, whole.byteLength - 1])
    expect((await check(whole.subarray(0, length))).ok).toBe(false);
  expect((await check(Buffer.concat([whole, Buffer.alloc(1)]))).ok).toBe(false);
});

test('signatures: valid, of another key, missing where one is demanded', async () => {
  const file = join(folder, 'run.audit');
  await writeFile(file, await bundleOf(await contextOf(), false));
  const [mine, other] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')];
  const hex = (key: typeof mine): string => publicKeyHex(key.publicKey.export({ type: 'spki', format: 'pem' }) as string);
  expect(await checkAuditBundle(file, { publicKey: hex(mine) })).toMatchObject({ ok: false, signature: 'none' });
  await signAuditBundle(file, mine.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
  expect(await checkAuditBundle(file, { publicKey: hex(mine) })).toMatchObject({ ok: true, signature: 'valid', publicKey: hex(mine) });
  expect(await checkAuditBundle(file, { publicKey: hex(other) })).toMatchObject({ ok: false, signature: 'invalid' });
  await expect(signAuditBundle(file, mine.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)).rejects.toThrow('signed already');
});

test('a damaged snapshot never gets into a bundle', async () => {
  const context = await contextOf();
  await writeFile(artifacts.pathOf!(digestOf(Buffer.from('state after step 10'))), 'something else');
  await expect(bundleOf(context)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
});
