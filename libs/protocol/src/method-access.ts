// The rule of each method, as the protocol's files have it (proto/espalier/v1/access.proto).
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { methodAt } from './descriptors.js';
import { MethodAccess, Role } from './generated/espalier/v1/access.js';

/** The roles by the words that people and events use. */
export const ROLES = { viewer: Role.ROLE_VIEWER, operator: Role.ROLE_OPERATOR, admin: Role.ROLE_ADMIN, engine: Role.ROLE_ENGINE } as const;

export function roleNamed(role: Role): keyof typeof ROLES | undefined {
  return (Object.keys(ROLES) as (keyof typeof ROLES)[]).find((name) => ROLES[name] === role);
}

/** Whether a caller with a role may do what another role is needed for. An engine stands beside the other roles, which are in order. */
export function includesRole(role: Role, needed: Role): boolean {
  if (role === needed || role === Role.ROLE_ADMIN) return true;
  return role !== Role.ROLE_ENGINE && needed !== Role.ROLE_ENGINE && role > needed;
}

const ACCESS_OPTION = 50501; // see access.proto
const known = new Map<string, MethodAccess>();

/**
 * @param path as a call has it: "/espalier.v1.RunService/LaunchRun"
 * @throws TypeError where the method does not say who may call it, or is not there
 */
export function methodAccess(path: string): MethodAccess {
  const before = known.get(path);
  if (before !== undefined) return before;
  const option = methodAt(path)?.proto.options?.$unknown?.find(({ no }) => no === ACCESS_OPTION);
  const access = option === undefined ? undefined : MethodAccess.decode(new BinaryReader(option.data).bytes());
  if (access === undefined || access.role === Role.ROLE_UNSPECIFIED) throw new TypeError(`${path} does not say who may call it`);
  known.set(path, access);
  return access;
}
