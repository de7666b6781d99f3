// Asks a server by reflection for its services, as a tool like grpcurl does.
import type { Channel, ClientOptions } from '@grpc/grpc-js';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, type FileDescriptorProto } from '@bufbuild/protobuf/wkt';
import { reflectionV1 } from '#protocol';

type Question = NonNullable<reflectionV1.ServerReflectionRequest['messageRequest']>;

async function ask(channel: Channel, messageRequest: Question): Promise<reflectionV1.ServerReflectionResponse['messageResponse']> {
  const channelOverride = channel as NonNullable<ClientOptions['channelOverride']>;
  const client = new reflectionV1.ServerReflectionClient('unused', null as never, { channelOverride });
  const call = client.serverReflectionInfo();
  call.write(reflectionV1.ServerReflectionRequest.fromPartial({ messageRequest }));
  call.end();
  for await (const { messageResponse } of call as AsyncIterable<reflectionV1.ServerReflectionResponse>) return messageResponse;
  return undefined;
}

export async function reflectedServices(channel: Channel): Promise<string[]> {
  const answer = await ask(channel, { $case: 'listServices', value: '' });
  return answer?.$case === 'listServicesResponse' ? answer.value.service.map(({ name }) => name) : [];
}

/** The file that declares a service, as the server sends it. */
export async function reflectedFile(channel: Channel, service: string): Promise<FileDescriptorProto> {
  const answer = await ask(channel, { $case: 'fileContainingSymbol', value: service });
  if (answer?.$case !== 'fileDescriptorResponse') throw new Error(`reflection knows no ${service}`);
  return fromBinary(FileDescriptorProtoSchema, answer.value.fileDescriptorProto[0]!);
}
