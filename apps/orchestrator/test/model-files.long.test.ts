// Tests engines whose machine lacks the model. The server sends it, once for all engines that share a cache. The model's path begins with
// the working directory of each process, so an engine that was started elsewhere does not find it.
import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { isIdle, JoiningEngine, listedUntil, serverWithoutEngines, tokenIn, Way } from './harness/joining-engine.js';
import { recordProblems } from './harness/record-checks.js';
import { TINY_MODEL, unary, type TestServer } from './harness/server.js';

const RUN: Partial<v1.RunSettings> = { totalSteps: 40, warmupSteps: 20, targetSparsity: 0.1 };
const COMES = 'a file of a model comes';
const WEIGHTS = 'model.safetensors';
const folder = mkdtempSync(join(tmpdir(), 'espalier-model-files-'));
const cache = join(folder, 'cache');
const elsewhere = join(folder, 'elsewhere');
/** A folder below the test's working directory, which is the server's, too. */
const here = mkdtempSync(join(process.cwd(), 'dist', 'model-'));
const SEEN_HERE = `/proc/self/cwd/${here.slice(process.cwd().length + 1)}`;

let server: TestServer;
let way: Way;
let token: string;
const joining = (name: string, more: string[] = ['--model-cache', cache], cwd = elsewhere): JoiningEngine =>
  new JoiningEngine(['--join', way.address, '--token-file', token, '--name', name, ...more], { cwd });
const launch = (modelPath = SEEN_HERE): Promise<v1.Run> => server.launch(RUN, { modelPath });
const lines = (engine: JoiningEngine, text: string): Record<string, unknown>[] =>
  engine.log
    .split('\n')
    .filter((line) => line.includes(text))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const sizeOfModel = (): number =>
  readdirSync(here).reduce((sum, name) => sum + (name === 'README.md' ? 0 : statSync(join(here, name)).size), 0);
/** The file of that name in the cache, among the arrived or the arriving files. */
function inCache(place: 'files' | 'parts', name = WEIGHTS): string | undefined {
  for (const model of readdirSync(join(cache, 'models'))) {
    const path = join(cache, 'models', model, place, name);
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) return path;
  }
  return undefined;
}

beforeAll(async () => {
  cpSync(TINY_MODEL, here, { recursive: true });
  cpSync(TINY_MODEL, elsewhere, { recursive: true }); // a folder that is not the model's
  server = await serverWithoutEngines();
  way = await Way.to(server.listenAddress);
  token = await tokenIn(join(folder, 'token'), server.access, v1.Role.ROLE_ENGINE, 'lab');
});
afterAll(async () => {
  await JoiningEngine.endAll();
  way.close();
  await server.dispose();
  for (const made of [folder, here]) rmSync(made, { recursive: true, force: true });
});

/** The state that the run ends with where the engine has the model. */
let undisturbed: string;
it('an engine that has the very files where the server has them is sent none', async () => {
  const engine = joining('same', ['--model-cache', cache], process.cwd());
  await listedUntil(server, isIdle('same'));
  undisturbed = (await server.completed((await launch()).runId)).stateDigest;
  expect(engine.log).not.toContain(COMES);
  expect(await engine.end('SIGTERM')).toBe(0);
});

it('a model arrives on a slow way, past the death of its engine and damage on the disk; the run ends the same', async () => {
  way.bytesPerSecond = 400_000;
  let engine = joining('slow');
  await listedUntil(server, isIdle('slow'));
  const { runId } = await launch();
  const [seen] = await listedUntil(server, ([one]) => one!.joined!.modelBytesHere > 150_000n);
  expect(Number(seen!.joined!.modelBytes)).toBe(sizeOfModel());
  expect(seen!.status).not.toBe(v1.EngineStatus.ENGINE_STATUS_NOT_RESPONDING); // health checks get through beside the files
  await engine.end('SIGKILL');
  const part = inCache('parts')!;
  const bytes = readFileSync(part);
  bytes[1_000]! ^= 1;
  writeFileSync(part, bytes);
  way.bytesPerSecond = Infinity;
  engine = joining('slow');
  const run = await server.completed(runId);
  expect(run.stateDigest).toBe(undisturbed);
  const tries = lines(engine, COMES).filter(({ file }) => file === WEIGHTS);
  expect(tries.map(({ from }) => Number(from) > 0)).toEqual([true, false]); // went on, was found damaged, and then came whole
  expect(engine.log).toContain('MODEL_FILE_DAMAGED');
  expect(recordProblems(await server.events(runId))).toEqual([]);
  expect(await engine.end('SIGTERM')).toBe(0);
});

it('it comes once for two engines of a machine, which begin at once', async () => {
  rmSync(join(cache, 'models'), { recursive: true });
  const engines = [joining('one'), joining('two')];
  await listedUntil(server, (all) => isIdle('one')(all) && isIdle('two')(all));
  const runs = await Promise.all([launch(), launch()]);
  for (const { runId } of runs) expect((await server.completed(runId)).stateDigest).toBe(undisturbed);
  const came = engines.flatMap((engine) => lines(engine, COMES)).map(({ file }) => file);
  expect(came.filter((file) => file === WEIGHTS)).toHaveLength(1);
  expect(new Set(came).size).toBe(came.length);
  for (const engine of engines) expect(await engine.end('SIGTERM')).toBe(0);
});

it('a file of the cache that was damaged since is found and comes again', async () => {
  const path = inCache('files')!;
  const bytes = readFileSync(path);
  bytes[100_000]! ^= 1;
  writeFileSync(path, bytes);
  const engine = joining('again');
  await listedUntil(server, isIdle('again'));
  expect((await server.completed((await launch()).runId)).stateDigest).toBe(undisturbed);
  expect(lines(engine, COMES).map(({ file }) => file)).toEqual([WEIGHTS]);
  expect(await engine.end('SIGTERM')).toBe(0);
});

it('a cache without room says so, the engine stays joined, and the run goes on once another engine has room', async () => {
  const small = joining('small', ['--model-cache', join(folder, 'small'), '--model-cache-limit', '1MiB']);
  await listedUntil(server, isIdle('small'));
  writeFileSync(join(here, 'added.txt'), Buffer.alloc(1_000_000, 'x')); // the same weights in a larger model
  const { runId } = await launch();
  await server.until(runId, ({ restarts }) => restarts > 0);
  const lost = (await server.events(runId)).find(({ type }) => type === 'EngineLost')!;
  expect(lost.dataJson).toContain('MODEL_CACHE_FULL');
  expect((await server.engines())[0]!.joined!.connected).toBe(true);
  const engine = joining('large');
  await listedUntil(server, isIdle('large'));
  expect(await small.end('SIGTERM')).toBe(0);
  expect((await server.completed(runId)).stateDigest).toBe(undisturbed);
  expect(await engine.end('SIGTERM')).toBe(0);
});

it('a run is paused while its model is on the way, and goes on from the bytes that are there', async () => {
  renameSync(join(here, 'added.txt'), join(here, 'other.txt'));
  way.bytesPerSecond = 200_000;
  const engine = joining('paused');
  await listedUntil(server, isIdle('paused'));
  const { runId } = await launch();
  await listedUntil(server, ([one]) => one!.joined!.modelBytesHere > 100_000n);
  way.bytesPerSecond = 50_000; // a part of the file is still missing when the run pauses, however late the pause comes
  await unary((done) => server.runs.pauseRun({ runId }, done));
  await server.until(runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_PAUSED);
  way.bytesPerSecond = Infinity;
  await server.resume(runId);
  expect((await server.completed(runId)).stateDigest).toBe(undisturbed);
  expect(lines(engine, COMES).some(({ from }) => Number(from) > 0)).toBe(true);
});

it('a folder that no cache made is refused at the start', async () => {
  const engine = joining('wrong', ['--model-cache', elsewhere]);
  expect(await engine.exitCode()).toBe(2);
  expect(engine.log).toContain('a new or empty folder is allowed');
});
