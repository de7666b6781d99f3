// Tests a server whose clients are of a later release, and ask for what the server does not know.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { Client, credentials, Server, ServerCredentials, type ServiceError } from '@grpc/grpc-js';
import { fileRegistry, fromServiceError, heedingUnknownFields, requestChecks, v1 } from './index.js';
import { unknownField } from './unknown-fields.js';

const launchType = fileRegistry().getMessage('espalier.v1.LaunchRunRequest')!;
const SETTINGS = launchType.fields.find(({ name }) => name === 'settings')!.number;
const LATER = 999;
const known = v1.LaunchRunRequest.encode(
  v1.LaunchRunRequest.fromPartial({
    modelPath: '/m',
    data: { trainPath: '/d' },
    settings: { gates: ['head', 'unit', 'hidden'] },
    tags: ['a'],
  }),
).finish();
/** Appends a field of a later release to the fields that this release knows. */
const later = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, new BinaryWriter().tag(LATER, WireType.Varint).uint32(7).finish()]);
const withLaterSetting = Buffer.concat([
  known,
  new BinaryWriter().tag(SETTINGS, WireType.LengthDelimited).bytes(later(new Uint8Array())).finish(),
]);

test('a field that the type lacks is found with its path, and a message of known fields has no such field', () => {
  expect(unknownField(launchType, known)).toBeUndefined();
  expect(unknownField(launchType, later(known))).toBe('999');
  expect(unknownField(launchType, withLaterSetting)).toBe('settings.999');
});

test('a launch with a setting of a later release is refused by name, in place of training without it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-later-'));
  const server = new Server({ interceptors: [requestChecks] });
  const launched: object[] = [];
  const { path } = v1.RunServiceService.launchRun;
  server.addService(heedingUnknownFields(v1.RunServiceService), {
    launchRun: ({ request }: { request: object }, answer: (error: null, response: object) => void) => {
      launched.push(request);
      answer(null, v1.LaunchRunResponse.fromPartial({}));
    },
  });
  const address = `unix:${join(folder, 'server.sock')}`;
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve())),
  );
  const client = new Client(address, credentials.createInsecure());
  const asItIs = (bytes: Buffer): Buffer => bytes;
  const launch = (bytes: Uint8Array): Promise<ServiceError | null> =>
    new Promise((resolve) => void client.makeUnaryRequest(path, asItIs, asItIs, Buffer.from(bytes), (error) => resolve(error)));
  try {
    expect(await launch(known)).toBeNull();
    const refused = fromServiceError((await launch(withLaterSetting))!);
    expect(refused.violations).toEqual([
      {
        field: 'settings.999',
        description:
          'is a field that this server, which is older than the client, does not know: update the server, or leave the field out',
        code: 'FIELD_UNKNOWN',
      },
    ]);
    expect(launched).toHaveLength(1);
  } finally {
    client.close();
    server.forceShutdown();
    rmSync(folder, { recursive: true, force: true });
  }
});
