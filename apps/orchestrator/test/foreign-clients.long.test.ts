// Tests odd values in each field of each public method. A client that knows only what reflection tells it is in foreign-clients.test.ts.
import { ScalarType, type DescField, type DescMessage } from '@bufbuild/protobuf';
import { status, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { fileRegistry, fromServiceError, v1 } from '#protocol';
import { TestServer, TINY_MODEL } from './harness/server.js';

const PUBLIC_SERVICES = [
  'RunService',
  'HistoryService',
  'ArtifactService',
  'EngineService',
  'StudyService',
  'PageService',
  'AccessService',
].map((name) => `espalier.v1.${name}`);

let server: TestServer;
let runId: string;

beforeAll(async () => {
  server = TestServer.inNewFolder();
  await server.start();
  runId = (await server.completed((await server.launch({ totalSteps: 30 })).runId)).runId;
});
afterAll(() => server.dispose());

/** The statuses that tell a client nothing about its request. */
const PROBLEMS = ['INTERNAL', 'UNKNOWN', 'DEADLINE_EXCEEDED', 'UNAVAILABLE'];

describe('odd values in any field of any method', () => {
  const methods = PUBLIC_SERVICES.flatMap((name) => fileRegistry().getService(name)!.methods).filter(
    ({ name }) => !['RebuildViews', 'LaunchRun', 'ForkRun', 'ResumeRun', 'CancelRun', 'DeleteRun'].includes(name),
  );

  it.each(methods.map((method) => [method.name, method] as const))('%s answers or names what is wrong', async (_, method) => {
    const problems: string[] = [];
    for (const [path, partial] of oddMessages(method.input)) {
      const outcome = await answerOf(method.parent.name, method.localName, method.input, partial);
      const [statusName, code] = outcome.split(' ');
      // A job that an earlier case has started may still have the engine.
      if (PROBLEMS.includes(statusName!) && code !== 'ENGINE_BUSY') problems.push(`${path}: ${outcome}`);
    }
    expect(problems).toEqual([]);
  });

  it('leave the server as it was', async () => {
    expect((await server.run(runId)).status).toBe(v1.RunStatus.RUN_STATUS_COMPLETED);
  });
});

/** A time is a Date here, and these are its bounds and the numbers around 0. */
const TIMESTAMP = 'google.protobuf.Timestamp';

const ODD: Partial<Record<ScalarType, unknown[]>> = {
  [ScalarType.DOUBLE]: [Number.NaN, Infinity, -Infinity, -1, 1e308, -1e308, 5e-324],
  [ScalarType.UINT32]: [0, 1, 0xffff_ffff],
  [ScalarType.INT64]: [-1n, 0n, 1n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)],
  [ScalarType.UINT64]: [0n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n],
  [ScalarType.STRING]: ['', '\u0000', "'; --", '../../etc/passwd', 'é\u{1f600}'.repeat(100), 'x'.repeat(100_000), '/dev/null'],
  [ScalarType.BOOL]: [true],
};

/** Yields the message with one field changed, for each field and each odd value of its kind. */
function* oddMessages(type: DescMessage): Generator<[path: string, partial: Record<string, unknown>]> {
  const usual: Record<string, unknown> = {};
  for (const { name, localName } of type.fields) {
    if (name.endsWith('run_id')) usual[localName] = runId;
    if (name === 'model_path') usual[localName] = TINY_MODEL;
    if (name === 'digest') usual[localName] = 'ab'.repeat(32);
  }
  for (const field of type.fields) {
    for (const [what, value] of oddValues(field)) {
      const key = field.oneof?.localName ?? field.localName;
      yield [`${field.name} = ${what}`, { ...usual, [key]: field.oneof ? { $case: field.localName, value } : value }];
    }
  }
}

function* oddValues(field: DescField): Generator<[what: string, value: unknown]> {
  if (field.fieldKind === 'list') {
    const isNumber = field.enum !== undefined || field.scalar === ScalarType.UINT32;
    const one = isNumber ? 1 : 'x';
    yield ['a long list', Array.from({ length: 100_000 }, () => one)];
    if (field.enum !== undefined) yield ['[-1]', [-1]];
  } else if (field.message?.typeName === TIMESTAMP) {
    for (const ms of [-8.64e15, -1, 0, 1, 8.64e15]) yield [`${ms} ms`, new Date(ms)];
  } else if (field.message !== undefined) {
    for (const inner of field.message.fields)
      for (const [what, value] of oddValues(inner)) yield [`{ ${inner.name}: ${what} }`, { [inner.localName]: value }];
  } else {
    const values = field.enum !== undefined ? [-1, 77, 2 ** 31 - 1] : (ODD[field.scalar] ?? []);
    for (const value of values) yield [String(value).slice(0, 40), value];
  }
}

/** Returns the name of the gRPC status, with the error's code and message. A stream is left after its first message. */
function answerOf(service: string, method: string, type: DescMessage, partial: Record<string, unknown>): Promise<string> {
  const clients = {
    RunService: server.runs,
    HistoryService: server.history,
    ArtifactService: server.artifacts,
    StudyService: server.studies,
    PageService: server.pages,
    AccessService: server.access,
    EngineService: server.engineService,
  };
  const client = clients[service as keyof typeof clients] as unknown as Record<string, (request: unknown, ...more: unknown[]) => unknown>;
  const message = (v1 as unknown as Record<string, { fromPartial(partial: unknown): unknown }>)[type.name]!.fromPartial(partial);
  return new Promise((resolve) => {
    const settle = (error: ServiceError | null): void =>
      resolve(error === null ? 'OK' : `${status[error.code]} ${fromServiceError(error).code} ${error.message}`);
    const isStream =
      fileRegistry()
        .getService(`espalier.v1.${service}`)!
        .methods.find(({ localName }) => localName === method)!.methodKind === 'server_streaming';
    if (!isStream) return void client[method]!(message, { deadline: Date.now() + 240_000 }, settle);
    const stream = client[method]!(message, { deadline: Date.now() + 240_000 }) as ClientReadableStream<unknown>;
    stream.once('data', () => {
      resolve('OK');
      stream.cancel();
    });
    stream.once('error', settle);
    stream.once('end', () => resolve('OK'));
  });
}
