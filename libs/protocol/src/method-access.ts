// Reads the access rule of each method from the protocol's files (proto/espalier/v1/access.proto).
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { methodAt } from './descriptors.js';
import { MethodAccess, Role } from './generated/espalier/v1/access.js';

/** The roles by the words that people and events use. */
export const ROLES = { viewer: Role.ROLE_VIEWER, operator: Role.ROLE_OPERATOR, admin: Role.ROLE_ADMIN, engine: Role.ROLE_ENGINE } as const;

export function roleNamed(role: Role): keyof typeof ROLES | undefined {
  return (Object.keys(ROLES) as (keyof typeof ROLES)[]).find((name) => ROLES[name] === role);
}

/**
 * Tells whether a caller with a role may do what another role is needed for. The roles are in order, except the engine's, which stands
 * beside them.
 */
export function includesRole(role: Role, needed: Role): boolean {
  if (role === needed || role === Role.ROLE_ADMIN) return true;
  return role !== Role.ROLE_ENGINE && needed !== Role.ROLE_ENGINE && role > needed;
}

const ACCESS_OPTION = 50501; // see access.proto
const known = new Map<string, MethodAccess>();

/**
 * @param path the path of a call: "/espalier.v1.RunService/LaunchRun"
 * @throws TypeError if the method does not exist, or does not say who may call it
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
