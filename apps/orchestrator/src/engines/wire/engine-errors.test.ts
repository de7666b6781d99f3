import { EspalierError, toServiceError } from '#protocol';
import { engineError, isTransient } from './engine-errors.js';

test('an engine that is about to end fails no run', () => {
  const error = engineError(toServiceError(new EspalierError('SHUTTING_DOWN', 'the engine is shutting down')));
  expect(error.code).toBe('ENGINE_LEFT');
  expect(isTransient(error)).toBe(true);
});
