// The commands for tokens, with which programs and people other than the server's own user make calls.
import { Option, type Command } from 'commander';
import { ROLES, type v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { choice, wholeNumber } from '../../options/parse.js';
import { when } from '../../output/format.js';
import { toStandardError } from '../../output/terminal.js';
import { action, examples } from '../command.js';
import { roleToWord } from './roles.js';

interface CreateOptions {
  role: v1.Role;
  days: number;
  name: string;
}

export function registerToken(program: Command): void {
  const token = program
    .command('token')
    .summary('give tokens to other people and to programs, and take them back')
    .description(
      'Tokens by which others than the user of the server call it. A viewer reads; an operator also launches, forks, evaluates and ' +
        'exports, and steers the runs that it has launched; an admin may do everything. The token of an engine lets in ' +
        '`espalier engine --join`, and opens nothing else.',
    );
  registerCreate(token);
  registerList(token);
  registerRevoke(token);
}

function registerCreate(token: Command): void {
  const create = token
    .command('create')
    .summary('make a token, and show it once')
    .description(
      'Makes a token and prints it. The server keeps only a digest of it, so it is shown this once. Its user sets ESPALIER_TOKEN to it.',
    )
    .requiredOption('--name <name>', 'the name of the token: its calls are recorded as those of token:NAME')
    .addOption(
      new Option('--role <role>', `the role of the token: ${Object.keys(ROLES).join(', ')}`).argParser(choice(ROLES)).makeOptionMandatory(),
    )
    .option('--days <n>', 'how long it is valid', wholeNumber, 30);
  examples(create, ['espalier token create --role operator --days 30 --name ci']);
  action<CreateOptions>(create, async ({ connection, output }, _, { name, role, days }) => {
    const made = await connection.call(connection.access, connection.access.createToken, { name, role, days });
    output.result({ token: plainToken(made.token!), secret: made.secret }, () => {
      toStandardError(`${sentence(made.token!)}. It is shown this once:`);
      output.line(made.secret);
    });
  });
}

function registerList(token: Command): void {
  const list = token
    .command('list')
    .summary('list the tokens')
    .description('Lists the tokens, those that have ended too. No secret is kept.');
  examples(list, ['espalier token list']);
  action(list, async (context) => {
    const { connection, output } = context;
    const { tokens } = await connection.call(connection.access, connection.access.listTokens, {});
    output.result({ tokens: tokens.map(plainToken) }, () => printTokens(context, tokens));
  });
}

function registerRevoke(token: Command): void {
  const revoke = token
    .command('revoke')
    .argument('<token>', 'its name, or its id of `token list`')
    .summary('take a token back')
    .description('Takes a token back: from now on it opens nothing. Open calls with it end, and browsers that it let in are logged out.');
  examples(revoke, ['espalier token revoke ci']);
  action(revoke, async ({ connection, output }, [name]: [string]) => {
    if (name.startsWith('espalier_'))
      throw new CliError('OPTION_INVALID', 'that is a token itself; its name or its id is allowed', {
        field: '<token>',
        exitCode: ExitCode.usage,
        hint: 'its id is the part between the two first underscores; a token in the history of a shell is no longer a secret',
      });
    const { token: gone } = await connection.call(connection.access, connection.access.revokeToken, { token: name });
    output.result({ token: plainToken(gone!) }, () => output.line(`token ${gone!.name} (${gone!.tokenId}) is revoked`));
  });
}

function printTokens({ output }: Context, tokens: v1.AccessToken[]): void {
  if (tokens.length === 0) {
    output.line('no token was made; only the user of the server can call');
    return;
  }
  output.table(
    ['NAME', 'ROLE', 'STATUS', 'VALID UNTIL', 'CREATED', 'BY', 'ID'],
    tokens.map((token) => [
      token.name,
      roleToWord(token.role),
      output.style(statusOf(token) === 'valid' ? 'green' : 'dim', statusOf(token)),
      when(token.expiresAt),
      when(token.createdAt),
      token.createdBy,
      token.tokenId,
    ]),
    [],
    { NAME: 'wrap', CREATED: 2, BY: 1 },
  );
}

function statusOf({ revokedAt, expiresAt }: v1.AccessToken): string {
  if (revokedAt !== undefined) return 'revoked';
  return expiresAt !== undefined && expiresAt.getTime() > Date.now() ? 'valid' : 'expired';
}

function sentence({ name, role, expiresAt }: v1.AccessToken): string {
  return `token ${name}: ${roleToWord(role)}, valid until ${when(expiresAt)}`;
}

/** Returns a token for programs, with its role and status as words. */
function plainToken(token: v1.AccessToken): Omit<v1.AccessToken, 'role'> & { role: string; status: string } {
  return { ...token, role: roleToWord(token.role), status: statusOf(token) };
}
