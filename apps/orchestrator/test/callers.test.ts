// Tests that the record says who asked for each fact: a user of this machine, whom the kernel tells for each connection.
import { execFile } from 'node:child_process';
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Metadata } from '@grpc/grpc-js';
import { v1 } from '#protocol';
import { codeOf, CORPUS, ENDLESS, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const server = TestServer.inNewFolder({ ESPALIER_OPEN_LOOPBACK: 'true' });
const { username } = userInfo();

beforeAll(() => server.start());
afterAll(() => server.dispose());

const launching = v1.LaunchRunRequest.fromPartial({
  modelPath: TINY_MODEL,
  data: { trainPath: CORPUS, validationPath: CORPUS },
  settings: { ...TINY_RUN, totalSteps: 20 },
});

function headers(...ids: string[]): Metadata {
  const metadata = new Metadata();
  for (const id of ids) metadata.add('x-request-id', id);
  return metadata;
}

/** Launches a run with these headers. Returns its id and the request id of the answer. */
async function launch(metadata: Metadata): Promise<{ runId: string; answered: string }> {
  let answered: unknown;
  const { run } = await unary<v1.LaunchRunResponse>((done) =>
    server.runs.launchRun(launching, metadata, done).on('metadata', (received: Metadata) => {
      answered = received.get('x-request-id')[0];
    }),
  );
  return { runId: run!.runId, answered: String(answered) };
}

it('names the user whose command it was, the id of the call, and the server for what it does by itself', async () => {
  const { runId, answered } = await launch(headers('build-17:launch'));
  expect(answered).toBe('build-17:launch');
  await server.completed(runId);
  const events = await server.events(runId);
  expect(events[0]!.context).toEqual({ actor: username, actorName: '', roles: ['owner'], requestId: 'build-17:launch' });
  const others = new Set(events.slice(1).map(({ context }) => JSON.stringify(context)));
  expect([...others]).toEqual([JSON.stringify({ actor: 'system:espalier', roles: ['system'], requestId: '', actorName: '' })]);
  expect(JSON.parse(events[0]!.dataJson)).toMatchObject({ context: { actor: username, requestId: 'build-17:launch' } });
});

it('has an id of its own for a call that brings none, and the log has it too', async () => {
  const { runId, answered } = await launch(headers());
  expect(answered).toMatch(/^[0-9a-f-]{36}$/);
  const [event] = await server.events(runId);
  expect(event!.context!.requestId).toBe(answered);
  await unary((done) => server.runs.getRun({ runId: 'nobody' }, headers('look-for-me'), done)).catch(() => undefined);
  while (!server.log.includes('"requestId":"look-for-me"')) await sleep(50);
  const log = server.log.split('\n');
  expect(log.filter((line) => line.includes(answered) && line.includes(`"actor":"${username}"`))).toHaveLength(1);
  expect(log.filter((line) => line.includes('"requestId":"look-for-me"') && line.includes('RUN_NOT_FOUND'))).toHaveLength(1);
});

it.each([
  ['too long', ['a'.repeat(129)]],
  ['with what acts upon a shell', ['$(reboot)']],
  ['that is empty', ['']],
  ['given twice', ['one', 'two']],
])('takes no id %s', async (_, ids) => {
  const refused = await launch(headers(...ids)).then(() => 'taken', codeOf);
  expect(refused).toBe('FIELD_OUT_OF_RANGE');
});

const asRoot = process.geteuid?.() === 0 ? it : it.skip;
asRoot('names another user of the machine who calls, whatever headers say', async () => {
  const { runId } = await server.launch(ENDLESS);
  const program = `
    process.setgid(65534); process.setuid(65534);
    const { v1 } = await import(process.argv[1]);
    const { ChannelCredentials, Metadata } = await import(process.argv[2]);
    const metadata = new Metadata();
    for (const name of ['actor', 'x-actor', 'x-forwarded-user']) metadata.set(name, 'root');
    const client = new v1.RunServiceClient(process.argv[3], ChannelCredentials.createInsecure());
    client.cancelRun({ runId: process.argv[4], reason: '' }, metadata, (error) => { client.close(); if (error) throw error; });`;
  const modules = ['../../../libs/protocol/src/index.js', '@grpc/grpc-js'].map((name) => import.meta.resolve(name));
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, ...modules, server.listenAddress, runId]);
  const cancelled = (await server.events(runId)).find(({ type }) => type === 'RunCancelled');
  expect(cancelled!.context).toMatchObject({ actor: 'nobody', roles: [] });
});
