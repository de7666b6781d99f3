// Answers AccessService by the tokens and logins. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import { roleNamed, ROLES, unary, v1, type CallInfo } from '#protocol';
import { TokenKeeper } from '../access/token-keeper.js';
import type { Token } from '../access/tokens.js';
import type { PersonCalling } from '../logins/person-calls.js';
import { Logins } from '../logins/logins.js';
import { DriverLease } from '../storage/driver-lease.js';
import { SpaceReserve } from '../storage/space-reserve.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { Access, roleOf } from './admission/access.js';
import { Callers } from './admission/callers.js';

@Injectable()
export class AccessGrpc {
  constructor(
    @Inject(TokenKeeper) private readonly tokens: TokenKeeper,
    @Inject(Logins) private readonly logins: Logins,
    @Inject(Access) private readonly access: Access,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(SpaceReserve) private readonly reserve: SpaceReserve,
  ) {}

  handlers(): v1.AccessServiceServer {
    return {
      getCaller: unary((_request: v1.GetCallerRequest, _signal, call) => Promise.resolve(this.caller(call))),
      createToken: unary(async ({ name, role, days }: v1.CreateTokenRequest, _signal, call): Promise<v1.CreateTokenResponse> => {
        await this.storage.requireRoom();
        this.lease.requireHeld();
        const wanted = { name, role: roleNamed(role), days };
        const { token, secret } = await this.tokens.create(wanted, this.callers.contextOf(call));
        return { token: messageOf(token), secret };
      }),
      listTokens: unary(() => Promise.resolve({ tokens: this.tokens.all().map(messageOf) })),
      // These calls need no free disk space: a lost token has to be revocable on a full disk, too.
      ...this.loginHandlers(),
      revokeToken: unary(({ token }: v1.RevokeTokenRequest, _signal, call) => this.reserve.spend(() => this.revoke(token, call))),
    };
  }

  private loginHandlers(): Pick<
    v1.AccessServiceServer,
    'getLoginOptions' | 'beginLogin' | 'finishLogin' | 'endLogin' | 'listLogins' | 'endLogins'
  > {
    const { logins } = this;
    return {
      getLoginOptions: unary((): Promise<v1.GetLoginOptionsResponse> => {
        const { label = '', issuer = '' } = logins.settings ?? {};
        return Promise.resolve({ label, issuer, problem: logins.problem ?? '', device: logins.takesDevices });
      }),
      beginLogin: unary(async (): Promise<v1.BeginLoginResponse> => {
        const { device, handle, expiresAt } = await logins.beginDevice();
        const { address, userCode: code, addressWithCode = '' } = device;
        return { handle, address, code, addressWithCode, expiresAt };
      }),
      finishLogin: unary(async ({ handle }: v1.FinishLoginRequest, signal): Promise<v1.FinishLoginResponse> => {
        const { calling, secret } = await logins.finishDevice(handle, signal);
        return { login: loginMessage(calling), secret };
      }),
      endLogin: unary((_request: v1.EndLoginRequest, _signal, call): Promise<v1.EndLoginResponse> => {
        const grant = this.callers.grantOf(call);
        if (grant.kind === 'person') logins.endOwn(grant.calling);
        return Promise.resolve({});
      }),
      listLogins: unary(() => Promise.resolve({ logins: logins.all().map(loginMessage) })),
      // Like the calls about tokens, this one needs no free disk space.
      endLogins: unary(({ person }: v1.EndLoginsRequest, _signal, call) =>
        this.reserve.spend(() => {
          this.storage.requireFolder();
          this.lease.requireHeld();
          return logins.endAll(person, this.callers.contextOf(call));
        }),
      ),
    };
  }

  private async revoke(token: string, call: CallInfo): Promise<v1.RevokeTokenResponse> {
    this.storage.requireFolder();
    this.lease.requireHeld();
    return { token: messageOf(await this.tokens.revoke(token, this.callers.contextOf(call))) };
  }

  private caller(call: CallInfo): v1.GetCallerResponse {
    const grant = this.callers.grantOf(call);
    return {
      name: this.callers.actorOf(call),
      role: roleOf(grant),
      token: grant.kind === 'token' ? messageOf(grant.token) : undefined,
      login: grant.kind === 'person' ? loginMessage(grant.calling) : undefined,
      needsLogin: this.access.asksForToken,
    };
  }
}

function loginMessage({ person, by, loginId, beganAtMs, trustedUntilMs, endsAtMs }: PersonCalling): v1.Login {
  return {
    loginId: loginId ?? '',
    actor: person.actor,
    person: person.name,
    role: ROLES[person.role],
    beganAt: new Date(beganAtMs),
    trustedUntil: new Date(trustedUntilMs),
    endsAt: new Date(endsAtMs),
    by,
  };
}

function messageOf({ tokenId, name, role, createdAt, createdBy, expiresAt, revokedAt }: Token): v1.AccessToken {
  return {
    tokenId,
    name,
    role: ROLES[role],
    createdAt: new Date(createdAt),
    expiresAt: new Date(expiresAt),
    revokedAt: revokedAt === null ? undefined : new Date(revokedAt),
    createdBy,
  };
}
