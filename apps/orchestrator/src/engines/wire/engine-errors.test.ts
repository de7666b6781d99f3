import { Metadata, status } from '@grpc/grpc-js';
import { EspalierError, toServiceError } from '#protocol';
import { EngineClient } from './engine-client.js';
import { engineError, EngineNotReachedError, isTransient } from './engine-errors.js';

test('an engine that is about to end fails no run', () => {
  const error = engineError(toServiceError(new EspalierError('SHUTTING_DOWN', 'the engine is shutting down')));
  expect(error.code).toBe('ENGINE_LEFT');
  expect(isTransient(error)).toBe(true);
});

test('an engine whose socket is gone is named as not reached, without the words of gRPC', async () => {
  const client = new EngineClient('unix:/nonexistent/engine.sock');
  const error = await client.describe().catch((failure: unknown) => failure);
  client.close();
  expect(error).toBeInstanceOf(EngineNotReachedError);
  expect(error).toMatchObject({ code: 'ENGINE_LOST', message: expect.stringMatching(/^the engine could not be reached: its process/) });
});

test.each([
  [status.UNAVAILABLE, 'ENGINE_LOST', 'the connection to the engine broke before it had answered'],
  [status.CANCELLED, 'ENGINE_LOST', 'the call to the engine was cancelled before it had answered'],
  [status.DEADLINE_EXCEEDED, 'ENGINE_SILENT', 'the engine did not answer in time'],
  [status.INTERNAL, 'ENGINE_FAILED', 'the engine did not finish: read ECONNRESET'],
])('a loss with status %s has words of ours', (code, ours, message) => {
  const details = 'read ECONNRESET';
  const error = engineError(Object.assign(new Error(details), { code, details, metadata: new Metadata() }));
  expect(error).toMatchObject({ code: ours, message });
  expect(error).not.toBeInstanceOf(EngineNotReachedError);
});
