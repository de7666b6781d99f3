import { RunService } from '../generated/espalier/v1/run_service_pb.js';
import { AccessService, AccessTokenSchema, LoginSchema } from '../generated/espalier/v1/access_service_pb.js';
import { Role } from '../generated/espalier/v1/access_pb.js';
import { create } from '@bufbuild/protobuf';
import { isOwner, mayCall, type Caller } from './allowed-calls.js';

const { getRun, launchRun, pauseRun, deleteRun } = RunService.method;
const caller = (role: Role): Caller => ({ name: 'token:ann', role, token: create(AccessTokenSchema), needsLogin: true });

test('a caller may do what the role of the method allows, and steer the runs of others as an admin only', () => {
  const may = (role: Role) => [
    mayCall(caller(role), getRun),
    mayCall(caller(role), launchRun),
    mayCall(caller(role), pauseRun, 'token:ann'),
    mayCall(caller(role), pauseRun, 'token:bob'),
    mayCall(caller(role), deleteRun, 'token:ann'),
    mayCall(caller(role), AccessService.method.createToken),
  ];
  expect(may(Role.VIEWER)).toEqual([true, false, false, false, false, false]);
  expect(may(Role.OPERATOR)).toEqual([true, true, true, false, false, false]);
  expect(may(Role.ADMIN)).toEqual([true, true, true, true, true, true]);
});

test('a person who has logged in may do what the role allows, and is not taken for the owner', () => {
  const person: Caller = { name: 'login:0a1b2c3d:s-ann', role: Role.OPERATOR, login: create(LoginSchema), needsLogin: true };
  expect([isOwner(person), mayCall(person, pauseRun, person.name), mayCall(person, pauseRun, 'login:0a1b2c3d:s-bob')]).toEqual([
    false,
    true,
    false,
  ]);
});

test("the server's own user may do everything, and a caller that is not known yet may do nothing", () => {
  expect(mayCall({ name: 'root', role: Role.ADMIN, needsLogin: true }, pauseRun, 'token:bob')).toBe(true);
  expect(mayCall(undefined, getRun)).toBe(false);
});
