// An engine of an earlier release, for tests: a real engine behind a door that leaves out what only later engines tell of themselves.
import type { Duplex } from 'node:stream';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type Metadata,
  type MethodDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { engineV1 } from '#protocol';

type Method = MethodDefinition<unknown, unknown>;
type Call = Duplex & { metadata: Metadata; request: Buffer };
type Answer = (error: ServiceError | null, response?: Buffer) => void;

const asItIs = (bytes: Buffer): Buffer => bytes;
const UNREAD = { requestSerialize: asItIs, requestDeserialize: asItIs, responseSerialize: asItIs, responseDeserialize: asItIs };

/** @param engine the real engine's address @returns the address of the door, and a function that closes it */
export async function earlierEngine(engine: string): Promise<{ address: string; close(): void }> {
  const client = new Client(engine, credentials.createInsecure());
  const server = new Server();
  const methods = Object.entries(engineV1.EngineServiceService) as [string, Method][];
  const handlers = methods.map(([name, method]) => [
    name,
    name === 'describeEngine' ? describing(client, method) : passing(client, method),
  ]);
  server.addService(
    Object.fromEntries(methods.map(([name, method]) => [name, { ...method, ...UNREAD }])),
    Object.fromEntries(handlers) as UntypedServiceImplementation,
  );
  new HealthImplementation({ '': 'SERVING' }).addToServer(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  const close = (): void => {
    server.forceShutdown();
    client.close();
  };
  return { address: `127.0.0.1:${port}`, close };
}

function describing(client: Client, { path }: Method) {
  return ({ request, metadata }: Call, answer: Answer): void =>
    void client.makeUnaryRequest(path, asItIs, asItIs, request, metadata, (error, bytes?: Buffer) => {
      if (bytes === undefined) return answer(error);
      const about = engineV1.DescribeEngineResponse.decode(bytes);
      answer(null, Buffer.from(engineV1.DescribeEngineResponse.encode({ ...about, known: [] }).finish()));
    });
}

function passing(client: Client, { path, requestStream, responseStream }: Method) {
  return (call: Call, answer: Answer): void => {
    const { metadata, request } = call;
    if (!responseStream) {
      if (requestStream) call.pipe(client.makeClientStreamRequest(path, asItIs, asItIs, metadata, answer) as unknown as Duplex);
      else client.makeUnaryRequest(path, asItIs, asItIs, request, metadata, answer);
      return;
    }
    const onward = requestStream
      ? client.makeBidiStreamRequest(path, asItIs, asItIs, metadata)
      : client.makeServerStreamRequest(path, asItIs, asItIs, request, metadata);
    if (requestStream) call.pipe(onward as unknown as Duplex);
    onward.on('error', (error: Error) => call.emit('error', error));
    call.on('cancelled', () => onward.cancel());
    (onward as unknown as Duplex).pipe(call);
  };
}
