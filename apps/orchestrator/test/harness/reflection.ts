// What a tool like grpcurl sees: the services that the server says it has.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { makeClientConstructor, type Channel, type ClientOptions, type ClientDuplexStream, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

interface Answer {
  listServicesResponse?: { service: { name: string }[] };
}

export async function reflectedServices(channel: Channel): Promise<string[]> {
  const folder = join(dirname(createRequire(import.meta.url).resolve('@grpc/reflection')), '..', 'proto');
  const definition = loadSync('grpc/reflection/v1/reflection.proto', { includeDirs: [folder] })['grpc.reflection.v1.ServerReflection'];
  const channelOverride = channel as NonNullable<ClientOptions['channelOverride']>;
  const client = new (makeClientConstructor(definition as ServiceDefinition, 'ServerReflection'))('unused', null as never, {
    channelOverride,
  });
  const call = (client as unknown as { serverReflectionInfo(): ClientDuplexStream<object, Answer> }).serverReflectionInfo();
  call.end({ listServices: '' });
  for await (const answer of call as AsyncIterable<Answer>) return (answer.listServicesResponse?.service ?? []).map(({ name }) => name);
  return [];
}
