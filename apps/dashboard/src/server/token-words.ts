// Describes the state of a token.
import { timestampDate } from '@bufbuild/protobuf/wkt';
import type { AccessToken } from '../generated/espalier/v1/access_service_pb.js';

export function tokenState({ revokedAt, expiresAt }: AccessToken, now = Date.now()): 'valid' | 'revoked' | 'expired' {
  if (revokedAt !== undefined) return 'revoked';
  return expiresAt !== undefined && timestampDate(expiresAt).getTime() > now ? 'valid' : 'expired';
}
