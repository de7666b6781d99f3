// The commands by which people log in at a server, through its OpenID provider.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { visibleJson, type v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import { Connection } from '../../connection/connection.js';
import { forgetLogin, keepLogin, keptLogin, serverKey } from '../../connection/kept-logins.js';
import type { ServerAddress } from '../../connection/server-address.js';
import type { Context } from '../../command-context.js';
import { when } from '../../output/format.js';
import { toStandardError } from '../../output/terminal.js';
import { action, examples } from '../command.js';
import { roleToWord } from './roles.js';

/** The pause before another try. A server that restarts, or an answer that is lost, does not end the wait for the person. */
const RETRY_MS = 2_000;

export function registerLogin(program: Command): void {
  const login = program
    .command('login')
    .summary('log in at a server as a person, by its OpenID provider')
    .description(
      'Shows an address and a code. Open the address in a browser, on any machine, and enter the code there. Later commands for the same ' +
        'server then call as you: the secret of the login is kept in ~/.config/espalier/logins, where only you can read it. Programs ' +
        'show a token instead (--token-file), which goes before a login.',
    );
  examples(
    login,
    ['espalier --server https://lab.example.org:7433 login'],
    ['ESPALIER_SERVER=https://lab.example.org:7433 espalier login'],
  );
  action(login, logIn);
}

export function registerLogout(program: Command): void {
  const logout = program
    .command('logout')
    .summary('end the login at a server')
    .description('Ends the login of this user at the server, and removes it from this machine.');
  examples(logout, ['espalier --server https://lab.example.org:7433 logout']);
  action(logout, logOut);
}

export function registerWhoami(program: Command): void {
  const whoami = program
    .command('whoami')
    .summary('tell the name by which the server knows this user, and the rights of the role')
    .description('Asks the server who calls: the name that events record, the role, and until when a token or a login is valid.');
  examples(whoami, ['espalier whoami']);
  action(whoami, async (context) => {
    const { connection, output } = context;
    const caller = await connection.call(connection.access, connection.access.getCaller, {});
    const { login, token } = caller;
    const role = roleToWord(caller.role);
    const plain = { name: caller.name, role, person: login?.person, login: login && plainLogin(login), tokenName: token?.name };
    output.result(plain, () => {
      output.line(login === undefined ? `${caller.name}, ${role}` : `${login.person}, ${role}`);
      if (login !== undefined) {
        output.line(`recorded as ${login.actor}`);
        output.line(
          login.by === 'token' ? `its token is valid until ${when(login.endsAt)}` : `the login is valid until ${when(login.endsAt)}`,
        );
      } else if (token !== undefined) output.line(`the token is valid until ${when(token.expiresAt)}`);
      else output.line(caller.needsLogin ? "the server's own user, who may do everything" : 'this server asks no caller for a token');
    });
  });
}

async function logIn(context: Context): Promise<void> {
  const server = context.findServerWithoutLogin();
  requireUse(server);
  const connection = new Connection(server, context.signal);
  try {
    const { access } = connection;
    const { label, device, problem } = await connection.call(access, access.getLoginOptions, {});
    if (label === '')
      throw new CliError('LOGIN_NOT_OFFERED', `the server at ${server.address} has no logins of people`, {
        exitCode: ExitCode.notAllowed,
        hint: 'an admin gives you a token: espalier token create; name its file with --token-file',
      });
    if (problem !== '') throw new CliError('LOGIN_UNAVAILABLE', problem, { exitCode: ExitCode.unavailable, hint: 'try again later' });
    if (!device)
      throw new CliError('LOGIN_NOT_OFFERED', `${label} has no logins by a code`, {
        exitCode: ExitCode.notAllowed,
        hint: "log in on the server's page, and let an admin give you a token for the command line",
      });
    const begun = await connection.call(access, access.beginLogin, {});
    showCode(context, label, begun);
    const { login, secret } = await finish(context, connection, begun);
    const key = serverKey(server.address, server.tls !== null);
    await endFormer(context, server, key);
    const file = keepLogin(key, secret);
    const known = login!;
    context.output.result({ ...plainLogin(known), file }, () => {
      context.output.line(
        `logged in at ${server.address} as ${known.person}, ${roleToWord(known.role)}, until ${when(known.endsAt)} at the latest`,
      );
    });
  } finally {
    connection.close();
  }
}

/** Prints the address and the code for the person. They go to standard error, so that standard output holds only the result. */
function showCode({ output }: Context, label: string, { address, code, addressWithCode, expiresAt }: v1.BeginLoginResponse): void {
  if (output.json) {
    process.stderr.write(`${visibleJson(JSON.stringify({ address, code, addressWithCode, expiresAt }))}\n`);
    return;
  }
  const lines = [
    `To log in with ${label}, open this address in a browser, on any machine:`,
    `  ${address}`,
    'and enter this code, and no other:',
    `  ${code}`,
    ...(addressWithCode === '' || addressWithCode === address
      ? []
      : ['Or open this address, which has the code in it:', `  ${addressWithCode}`]),
    `Waiting until ${when(expiresAt)}; Ctrl-C gives up.`,
  ];
  toStandardError(lines.join('\n'));
}

async function finish(
  { signal }: Context,
  connection: Connection,
  { handle, expiresAt }: v1.BeginLoginResponse,
): Promise<v1.FinishLoginResponse> {
  for (;;) {
    const leftMs = expiresAt!.getTime() - Date.now();
    if (leftMs <= 0) throw new CliError('LOGIN_FAILED', 'no person has entered the code in time', { hint: 'espalier login' });
    try {
      return await connection.call(connection.access, connection.access.finishLogin, { handle }, leftMs);
    } catch (error) {
      const { code } = error as CliError;
      if (!['SERVER_UNAVAILABLE', 'SHUTTING_DOWN', 'LOGIN_UNAVAILABLE'].includes(code)) throw error;
      await sleep(RETRY_MS, undefined, { signal });
    }
  }
}

/** Ends the former login at the server. Otherwise it would stay there, although no command shows it any more. */
async function endFormer({ signal }: Context, server: ServerAddress, key: string): Promise<void> {
  try {
    const former = keptLogin(key);
    if (former !== null) await endAtServer({ ...server, token: former, tokenOrigin: 'login' }, signal);
  } catch {
    // the former login ends by itself
  }
}

async function endAtServer(server: ServerAddress, signal: AbortSignal): Promise<void> {
  const connection = new Connection(server, signal);
  try {
    await connection.call(connection.access, connection.access.endLogin, {});
  } finally {
    connection.close();
  }
}

async function logOut(context: Context): Promise<void> {
  const server = context.findServerWithoutLogin();
  const key = serverKey(server.address, server.tls !== null);
  let secret: string | null = null;
  try {
    secret = keptLogin(key);
  } catch (error) {
    toStandardError((error as Error).message);
    forgetLogin(key);
  }
  if (secret === null) {
    context.output.result({ loggedOut: false }, () => context.output.line(`this user has not logged in at ${server.address}`));
    return;
  }
  forgetLogin(key);
  let trouble: string | null = null;
  try {
    await endAtServer({ ...server, token: secret, tokenOrigin: 'login' }, context.signal);
  } catch (error) {
    const { code, message } = error as CliError;
    if (code !== 'LOGIN_ENDED') trouble = message;
  }
  if (trouble !== null) toStandardError(`the server was not told, so there the login ends by itself later: ${trouble}`);
  context.output.result({ loggedOut: true, toldServer: trouble === null }, () => context.output.line(`logged out at ${server.address}`));
}

/** Refuses a login that no later command would show, before the person does anything. */
function requireUse({ address, origin, tokenOrigin }: ServerAddress): void {
  if (tokenOrigin === 'given')
    throw new CliError(
      'OPTIONS_CONFLICT',
      'a token is named (--token-file, ESPALIER_TOKEN_FILE or ESPALIER_TOKEN), which goes before a login',
      {
        exitCode: ExitCode.usage,
        hint: 'log in without it',
      },
    );
  if (origin === 'data folder')
    throw new CliError(
      'OPTIONS_CONFLICT',
      "this is the server of your own data folder: commands show it that folder's token, and may do everything",
      {
        exitCode: ExitCode.usage,
        hint: `to call as a person all the same, name the server by its address: espalier --server ${address} login`,
      },
    );
}

function plainLogin({ person, actor, role, by, endsAt, trustedUntil, beganAt, loginId }: v1.Login) {
  return { loginId, person, actor, role: roleToWord(role), by, beganAt, trustedUntil, endsAt };
}

export function registerLogins(program: Command): void {
  const logins = program
    .command('logins')
    .summary('list the people who have logged in, and end logins')
    .description('People who have logged in at this server by its OpenID provider. For admins.');
  const list = logins.command('list', { isDefault: true }).summary('list the logins').description('Lists the logins that have not ended.');
  examples(list, ['espalier logins']);
  action(list, async ({ connection, output }) => {
    const { logins: all } = await connection.call(connection.access, connection.access.listLogins, {});
    output.result({ logins: all.map(plainLogin) }, () => {
      if (all.length === 0) return output.line('no person has logged in');
      output.table(
        ['PERSON', 'ROLE', 'BY', 'BEGAN', 'ENDS', 'ID', 'ACTOR'],
        all.map((one) => [one.person, roleToWord(one.role), one.by, when(one.beganAt), when(one.endsAt), one.loginId, one.actor]),
        [],
        { PERSON: 'wrap', ENDS: 2, BY: 1 },
      );
    });
  });
  const end = logins
    .command('end')
    .argument('<person>', 'the name or the id of `logins`, or the actor that events record')
    .summary('end all logins of a person at once')
    .description(
      'Ends all logins of a person: open calls end too, and tokens that the provider has issued before are refused. The person may log ' +
        'in again, unless the provider or the file of --oidc refuses that.',
    );
  examples(end, ['espalier logins end ann']);
  action(end, async ({ connection, output }, [person]: [string]) => {
    const { actor, ended } = await connection.call(connection.access, connection.access.endLogins, { person });
    output.result({ actor, ended }, () => output.line(`${ended} ${ended === 1 ? 'login' : 'logins'} of ${actor} ended`));
  });
}
