import { makeClientConstructor, type ClientOptions, type ServiceError } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { engineError } from './engine-errors.js';

interface HealthClient {
  check(
    request: { service: string },
    options: { deadline: number },
    callback: (error: ServiceError | null, response?: { status: string }) => void,
  ): void;
}

type Channel = NonNullable<ClientOptions['channelOverride']>;

const HealthClientClass = makeClientConstructor(healthService, 'Health');

/** Resolves when grpc.health.v1 answers that the engine serves. */
export function checkHealth(channel: Channel, timeoutMs: number): Promise<void> {
  const client = new HealthClientClass('unused', null as never, { channelOverride: channel }) as unknown as HealthClient;
  return new Promise((resolve, reject) => {
    client.check({ service: '' }, { deadline: Date.now() + timeoutMs }, (error, response) => {
      if (error) reject(engineError(error));
      else if (response?.status === 'SERVING') resolve();
      else reject(new Error(`the engine says ${response?.status}`));
    });
  });
}
