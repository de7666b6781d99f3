import { v1 } from '#protocol';
import { enumWord } from '../../output/format.js';

export function roleToWord(role: v1.Role): string {
  return enumWord(v1.roleToJSON(role), 'ROLE_');
}
