// A call's name, by which it is found again in logs and in the record.
import type { Metadata } from '@grpc/grpc-js';

export const REQUEST_ID_HEADER = 'x-request-id';

/** '' where a call has none. */
export function requestIdIn(metadata: Metadata | undefined): string {
  return String(metadata?.get(REQUEST_ID_HEADER)[0] ?? '');
}
