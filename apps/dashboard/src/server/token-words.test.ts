import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { AccessTokenSchema } from '../generated/espalier/v1/access_service_pb.js';
import { tokenState } from './token-words.js';

test('a token is valid until it is revoked or its time is over', () => {
  const expiresAt = timestampFromDate(new Date(10_000));
  const token = create(AccessTokenSchema, { expiresAt });
  expect(tokenState(token, 9_999)).toBe('valid');
  expect(tokenState(token, 10_000)).toBe('expired');
  expect(tokenState(create(AccessTokenSchema, { expiresAt, revokedAt: timestampFromDate(new Date(1)) }), 2)).toBe('revoked');
});
