// The view of a tool like grpcurl: the services that the server says it has.
import type { Channel, ClientOptions } from '@grpc/grpc-js';
import { reflectionV1 } from '#protocol';

export async function reflectedServices(channel: Channel): Promise<string[]> {
  const channelOverride = channel as NonNullable<ClientOptions['channelOverride']>;
  const client = new reflectionV1.ServerReflectionClient('unused', null as never, { channelOverride });
  const call = client.serverReflectionInfo();
  call.write(reflectionV1.ServerReflectionRequest.fromPartial({ messageRequest: { $case: 'listServices', value: '' } }));
  call.end();
  for await (const { messageResponse: answer } of call as AsyncIterable<reflectionV1.ServerReflectionResponse>)
    if (answer?.$case === 'listServicesResponse') return answer.value.service.map(({ name }) => name);
  return [];
}
