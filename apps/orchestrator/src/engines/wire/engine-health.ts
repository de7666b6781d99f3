import { Metadata, type ClientOptions } from '@grpc/grpc-js';
import { healthV1 } from '#protocol';
import { engineError } from './engine-errors.js';

type Channel = NonNullable<ClientOptions['channelOverride']>;

const { HealthCheckResponse_ServingStatus: ServingStatus } = healthV1;

/** Resolves when grpc.health.v1 answers that the engine serves. */
export function checkHealth(channel: Channel, timeoutMs: number): Promise<void> {
  const client = new healthV1.HealthClient('unused', null as never, { channelOverride: channel });
  return new Promise((resolve, reject) => {
    client.check({ service: '' }, new Metadata(), { deadline: Date.now() + timeoutMs }, (error, response) => {
      if (error) reject(engineError(error));
      else if (response.status === ServingStatus.SERVING) resolve();
      else reject(new Error(`the engine says ${ServingStatus[response.status]}`));
    });
  });
}
