// Tells which calls a caller may make. The rules are options of the protocol's methods, which the server enforces.
import { getOption, type DescMethod } from '@bufbuild/protobuf';
import { access, Role } from '../generated/espalier/v1/access_pb.js';
import type { GetCallerResponse } from '../generated/espalier/v1/access_service_pb.js';

export type Caller = Pick<GetCallerResponse, 'name' | 'role' | 'token' | 'login' | 'needsLogin'>;

/** Tells whether the caller is the server's own user, who may do everything. */
export const isOwner = ({ token, login }: Pick<Caller, 'token' | 'login'>): boolean => token === undefined && login === undefined;

/** @param launchedBy the caller that launched the run or study that the call is about */
export function mayCall(caller: Caller | undefined, method: DescMethod, launchedBy?: string): boolean {
  if (caller === undefined) return false;
  const { role, onOthers } = getOption(method, access);
  if (caller.role < role) return false;
  const isAnothers = launchedBy !== undefined && launchedBy !== caller.name;
  return isOwner(caller) || !isAnothers || caller.role >= onOthers;
}

export const roleWord = (role: Role): string => Role[role].toLowerCase();

const ROLE_WORDS: Partial<Record<Role, string>> = {
  [Role.VIEWER]: 'A viewer reads, and changes nothing.',
  [Role.OPERATOR]: 'An operator launches, forks, evaluates and exports, and steers the runs that it has launched.',
  [Role.ADMIN]: 'An admin may do everything.',
};

export const callerWords = ({ role, ...caller }: Caller): string =>
  isOwner(caller) ? 'This is the server’s own user, who may do everything.' : (ROLE_WORDS[role] ?? '');
