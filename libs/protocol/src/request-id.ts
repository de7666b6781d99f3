// The id of a call, by which logs and the record name the call.
import type { Metadata } from '@grpc/grpc-js';

export const REQUEST_ID_HEADER = 'x-request-id';

/** Returns the id of a call; '' where it has none. */
export function requestIdIn(metadata: Metadata | undefined): string {
  return String(metadata?.get(REQUEST_ID_HEADER)[0] ?? '');
}
