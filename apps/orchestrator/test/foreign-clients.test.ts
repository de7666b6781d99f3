// Tests the public protocol for foreign clients, which know only what reflection tells them. Odd values in each field are in
// foreign-clients.long.test.ts.
import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { status } from '@grpc/grpc-js';
import { descriptorSet, fileDescriptors } from '#protocol';
import { TestServer } from './harness/server.js';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
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

beforeAll(async () => {
  server = TestServer.inNewFolder();
  await server.start();
  await server.completed((await server.launch({ totalSteps: 30 })).runId);
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
