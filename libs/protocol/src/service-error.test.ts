import { Metadata, status } from '@grpc/grpc-js';
import { EspalierError, fromServiceError, invalidRequest, statusOf, toServiceError } from './index.js';

describe('errors on the wire', () => {
  it('carry code, message, field violations and metadata from server to client', () => {
    const sent = new EspalierError('FIELD_OUT_OF_RANGE', 'settings.target_sparsity: must be in [0, 0.95]', {
      violations: [{ field: 'settings.target_sparsity', description: 'must be in [0, 0.95]', code: 'FIELD_OUT_OF_RANGE' }],
      metadata: { run_id: 'abc' },
    });
    const onWire = toServiceError(sent);
    expect(onWire.code).toBe(status.INVALID_ARGUMENT);
    const received = fromServiceError(onWire);
    expect(received.code).toBe('FIELD_OUT_OF_RANGE');
    expect(received.message).toBe(sent.message);
    expect(received.violations).toEqual(sent.violations);
    expect(received.metadata).toEqual({ run_id: 'abc' });
    expect(received.field).toBe('settings.target_sparsity');
  });

  it('names every bad field of a request', () => {
    const error = invalidRequest([
      { field: 'a', description: 'is missing', code: 'FIELD_REQUIRED' },
      { field: 'b', description: 'is too large', code: 'FIELD_OUT_OF_RANGE' },
    ]);
    expect(error.code).toBe('REQUEST_INVALID');
    expect(fromServiceError(toServiceError(error)).violations).toHaveLength(2);
  });

  it('keeps the code of a library error and hides none behind INTERNAL', () => {
    const full = Object.assign(new Error('no space left'), { code: 'ARTIFACT_STORE_FULL' });
    expect(toServiceError(full).code).toBe(status.RESOURCE_EXHAUSTED);
    expect(fromServiceError(toServiceError(full)).code).toBe('ARTIFACT_STORE_FULL');
  });

  it('does not take an errno for a stable code', () => {
    const missing = Object.assign(new Error('no such file'), { code: 'ENOENT' });
    expect(fromServiceError(toServiceError(missing)).code).toBe('INTERNAL');
  });

  it('falls back to the status name when a server sends no details', () => {
    const bare = Object.assign(new Error('14 UNAVAILABLE: gone'), { code: status.UNAVAILABLE, details: 'gone', metadata: new Metadata() });
    expect(fromServiceError(bare).code).toBe('UNAVAILABLE');
  });

  it('maps codes outside the table to INTERNAL but keeps their name', () => {
    expect(statusOf('SOMETHING_NEW')).toBe(status.INTERNAL);
    expect(fromServiceError(toServiceError(new EspalierError('SOMETHING_NEW', 'x'))).code).toBe('SOMETHING_NEW');
  });

  it.each([
    ['a long text', new EspalierError('INTERNAL', 'x'.repeat(1_000_000))],
    ['a text that must be escaped', new EspalierError('INTERNAL', '\u{1f600}'.repeat(5_000))],
    ['half a character', new EspalierError('INTERNAL', 'a\ud83d')],
    ['a text that is cut within a character', new EspalierError('INTERNAL', `${'x'.repeat(999)}\u{1f600}`.repeat(2))],
    [
      'many long violations',
      invalidRequest(Array.from({ length: 500 }, (_, n) => ({ field: `f${n}`, description: 'd'.repeat(5_000), code: 'FIELD_REQUIRED' }))),
    ],
    ['long facts', new EspalierError('RUN_NOT_FOUND', 'no run', { metadata: { run_id: 'y'.repeat(100_000) } })],
  ])('keeps %s within the trailers that clients take', (_, error) => {
    const onWire = toServiceError(error);
    const [details] = onWire.metadata.get('grpc-status-details-bin') as [Buffer];
    expect(encodeURI(onWire.details).length + details.toString('base64').length).toBeLessThan(7_500);
    const received = fromServiceError(onWire);
    expect(received.code).toBe(error.code);
    if (error.violations.length > 0) expect(received.violations[0]).toMatchObject({ field: 'f0', code: 'FIELD_REQUIRED' });
  });
});
