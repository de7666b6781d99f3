import { credentials, Server, ServerCredentials, type ServiceError } from '@grpc/grpc-js';
import { Health } from './health.js';
import {
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthClient,
  type HealthCheckResponse,
  type HealthListResponse,
} from './generated/grpc/health/v1/health.js';

const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = ServingStatus;
const health = new Health();
const server = new Server();
let client: HealthClient;

beforeAll(async () => {
  health.set('', true);
  health.set('trains', false);
  health.addTo(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  client = new HealthClient(`127.0.0.1:${port}`, credentials.createInsecure());
});
afterAll(() => {
  client.close();
  server.forceShutdown();
});

const check = (service: string): Promise<HealthCheckResponse> =>
  new Promise((resolve, reject) => {
    client.check({ service }, (error: ServiceError | null, response) => (error ? reject(error) : resolve(response)));
  });

/** Watches a service, does the work once its first status is there, and returns the first two statuses. */
async function twoStatuses(service: string, work: () => void): Promise<ServingStatus[]> {
  const watching = client.watch({ service }).on('error', () => undefined); // it is cancelled
  const seen: ServingStatus[] = [];
  for await (const { status } of watching as AsyncIterable<HealthCheckResponse>) {
    seen.push(status);
    if (seen.length === 2) break;
    work();
  }
  watching.cancel();
  return seen;
}

test('each service has a status of its own, and a service that the server does not know has none', async () => {
  expect((await check('')).status).toBe(SERVING);
  expect((await check('trains')).status).toBe(NOT_SERVING);
  await expect(check('nowhere')).rejects.toMatchObject({ code: 5, details: 'Health status unknown for service nowhere' });
  const { statuses } = await new Promise<HealthListResponse>((resolve, reject) => {
    client.list({}, (error, response) => (error ? reject(error) : resolve(response)));
  });
  expect(statuses).toEqual({ '': { status: SERVING }, trains: { status: NOT_SERVING } });
});

test('a watcher is told the status now and at each change of its service, also of one that becomes known later', async () => {
  const seen = await twoStatuses('trains', () => {
    health.set('', false); // is no change of the watched service
    health.set('trains', true);
  });
  expect(seen).toEqual([NOT_SERVING, SERVING]);
  expect(await twoStatuses('later', () => health.set('later', true))).toEqual([SERVICE_UNKNOWN, SERVING]);
});
