// Tests the public protocol for foreign clients, which know only what reflection tells them and may send anything.
import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ScalarType, type DescField, type DescMessage } from '@bufbuild/protobuf';
import { status, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { descriptorSet, fileDescriptors, fileRegistry, fromServiceError, v1 } from '#protocol';
import { TestServer, TINY_MODEL } from './harness/server.js';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const PUBLIC_SERVICES = ['RunService', 'HistoryService', 'ArtifactService', 'EngineService', 'StudyService', 'AccessService'].map(
  (name) => `espalier.v1.${name}`,
);

let server: TestServer;
let runId: string;

beforeAll(async () => {
  server = TestServer.inNewFolder();
  await server.start();
  runId = (await server.completed((await server.launch({ totalSteps: 30 })).runId)).runId;
});
afterAll(() => server.dispose());

interface Refusal {
  grpc_code: string;
  code: number;
  message: string;
  details: [{ reason: string; domain: string }, { field_violations: { field: string; reason: string }[] }];
}

describe('a client of another make that knows the address only', () => {
  let report: {
    services: Record<string, string[]>;
    files: Record<string, string>;
    missing: number;
    optional: boolean;
    health: string;
    total: number;
    no_model: Refusal;
    not_a_number: Refusal;
    long_name: Refusal;
    too_large: string;
  };

  beforeAll(async () => {
    const script = join(ROOT, 'apps/orchestrator/test/foreign-client.py');
    const { stdout } = await promisify(execFile)('/usr/bin/python3', [script, server.listenAddress, server.token!], { maxBuffer: 1 << 26 });
    report = JSON.parse(stdout) as typeof report;
  });

  it('finds the services by both versions of reflection', () => {
    const expected = [
      ...PUBLIC_SERVICES,
      'espalier.v1.EngineGatewayService',
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
    ].sort();
    expect(report.services).toEqual({ v1: expected, v1alpha: expected });
  });

  it('gets the files that buf build makes, byte for byte, with all that they import and the details of errors', () => {
    const built = execFileSync(join(ROOT, 'node_modules/.bin/buf'), ['build', '--as-file-descriptor-set', '-o', '-'], { cwd: ROOT });
    expect(descriptorSet().equals(built)).toBe(true);
    const names = Object.keys(report.files);
    for (const name of [
      'espalier/v1/common.proto',
      'google/protobuf/timestamp.proto',
      'google/rpc/error_details.proto',
      'grpc/health/v1/health.proto',
    ])
      expect(names).toContain(name);
    for (const [name, content] of Object.entries(report.files))
      expect([name, content]).toEqual([name, fileDescriptors().get(name)!.toString('hex')]);
    expect(report.missing).toBe(status.NOT_FOUND);
    expect(report.optional).toBe(true);
  });

  it('calls methods with messages made from them, and reads the details of refusals', () => {
    expect(report.health).toBe('SERVING');
    expect(report.total).toBe(1);
    const { no_model: refusal } = report;
    expect(refusal).toMatchObject({ grpc_code: 'INVALID_ARGUMENT', code: status.INVALID_ARGUMENT });
    expect(refusal.details[0]).toEqual({ reason: 'REQUEST_INVALID', domain: 'espalier' });
    expect(refusal.details[1].field_violations.map(({ field, reason }) => [field, reason])).toEqual([
      ['model_path', 'FIELD_REQUIRED'],
      ['data.train_path', 'FIELD_REQUIRED'],
    ]);
    expect(report.not_a_number.details[1].field_violations).toMatchObject([
      { field: 'settings.target_sparsity', reason: 'FIELD_OUT_OF_RANGE' },
    ]);
  });

  it('is told that a field or a whole request is too long, without a broken stream', () => {
    expect(report.long_name).toMatchObject({
      grpc_code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('at most 200 characters') as string,
    });
    expect(report.too_large).toBe('RESOURCE_EXHAUSTED');
  });
});

describe('odd values in any field of any method', () => {
  const methods = PUBLIC_SERVICES.flatMap((name) => fileRegistry().getService(name)!.methods).filter(
    ({ name }) => !['RebuildViews', 'LaunchRun', 'ForkRun', 'ResumeRun', 'CancelRun', 'DeleteRun'].includes(name),
  );

  it.each(methods.map((method) => [method.name, method] as const))('%s answers or names what is wrong', async (_, method) => {
    const problems: string[] = [];
    for (const [path, partial] of oddMessages(method.input)) {
      const outcome = await answerOf(method.parent.name, method.localName, method.input, partial);
      if (['INTERNAL', 'UNKNOWN', 'DEADLINE_EXCEEDED', 'UNAVAILABLE'].includes(outcome)) problems.push(`${path}: ${outcome}`);
    }
    expect(problems).toEqual([]);
  });

  it('leave the server as it was', async () => {
    expect((await server.run(runId)).status).toBe(v1.RunStatus.RUN_STATUS_COMPLETED);
  });
});

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
  } else if (field.message !== undefined) {
    for (const inner of field.message.fields)
      for (const [what, value] of oddValues(inner)) yield [`{ ${inner.name}: ${what} }`, { [inner.localName]: value }];
  } else {
    const values = field.enum !== undefined ? [-1, 77, 2 ** 31 - 1] : (ODD[field.scalar] ?? []);
    for (const value of values) yield [String(value).slice(0, 40), value];
  }
}

/** Returns the name of the gRPC status. A stream is left after its first message. */
function answerOf(service: string, method: string, type: DescMessage, partial: Record<string, unknown>): Promise<string> {
  const clients = {
    RunService: server.runs,
    HistoryService: server.history,
    ArtifactService: server.artifacts,
    StudyService: server.studies,
    AccessService: server.access,
    EngineService: server.engineService,
  };
  const client = clients[service as keyof typeof clients] as unknown as Record<string, (request: unknown, ...more: unknown[]) => unknown>;
  const message = (v1 as unknown as Record<string, { fromPartial(partial: unknown): unknown }>)[type.name]!.fromPartial(partial);
  return new Promise((resolve) => {
    const settle = (error: ServiceError | null): void =>
      resolve(error === null ? 'OK' : `${status[error.code]} ${fromServiceError(error).code}`.split(' ')[0]!);
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
