// The commands that make certificates of a small authority, for a server that other machines reach.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { makeFolder, readSecretFileSync, writeOwnFile } from '#files';
import { newAuthority, readCertificate, readTlsPair, signedBy, type CertificateWish, type Signed } from '#local-access';
import { CliError, ExitCode, invalidOption } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { absolutePath } from '../../options/parse.js';
import { action, examples } from '../command.js';

/** Matches a DNS name without a wildcard, or an address. */
const HOST_NAME = /^(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*$|^[\da-fA-F:]*:[\da-fA-F:.]*$/;
/** The names by which clients on the server's own machine reach it. */
const HERE = ['localhost', '127.0.0.1', '::1'];
const AUTHORITY_DAYS = 3_650;
/** The longest lifetime that browsers accept. */
const CERTIFICATE_DAYS = 397;
const AUTHORITY = 'authority';
const ANOTHER_AUTHORITY = 'make another one in another folder with `espalier tls init`, and give its authority.pem to all clients';

interface FolderOption {
  dir?: string;
  names?: string[];
}

export function registerTls(program: Command): void {
  const tls = program
    .command('tls')
    .summary('make certificates for a server that other machines reach')
    .description(
      'Certificates for a server that other machines reach, where no authority is at hand that signs them. With certificates of an ' +
        'authority of your own, give their files to `espalier up` in the same way.',
    );
  const init = tls
    .command('init')
    .summary('make a small authority, a certificate for the server and one for clients')
    .description(
      'Makes a small authority (ten years), a certificate for the server and one for clients (397 days). Clients need the file ' +
        'authority.pem, which is not secret. They need the client certificate only where the server is started with ' +
        '--tls-client-ca. Keep authority.key away from others: its reader can make certificates that all clients take.',
    );
  withFolder(init)
    .requiredOption('--names <name,...>', 'the names and addresses by which other machines reach the server, with commas', hosts)
    .addHelpText('after', `\nThis machine's own name, ${HERE.join(', ')} are always among the names.`);
  examples(
    init,
    ['espalier tls init --dir tls --names lab.example.org,10.0.0.7'],
    ['espalier up --detach --listen 0.0.0.0:7433 --web 0.0.0.0:7434 --tls-cert tls/server.pem --tls-key tls/server.key'],
    ['espalier --server https://lab.example.org:7433 --tls-ca authority.pem --token-file token runs'],
  );
  action<FolderOption>(init, (context, _, options) => initFolder(context, options));
  const renew = tls
    .command('renew')
    .summary('make new certificates with the authority of `tls init`')
    .description(
      'Makes new certificates and keys for the server and for clients, with the authority that the folder has. A running server takes ' +
        'its new certificate within seconds. Connections that are open stay open.',
    );
  withFolder(renew).option('--names <name,...>', 'other names and addresses than until now', hosts);
  examples(renew, ['espalier tls renew --dir tls']);
  action<FolderOption>(renew, (context, _, options) => renewFolder(context, options));
}

function withFolder(command: Command): Command {
  return command.option('--dir <folder>', 'where the certificates and keys lie (default: ./tls)', absolutePath);
}

async function initFolder(context: Context, { dir = absolutePath('tls'), names = [] }: FolderOption): Promise<void> {
  if (existsSync(join(dir, `${AUTHORITY}.pem`)))
    throw new CliError('TLS_FOLDER_TAKEN', `${dir} holds an authority already; clients know the server by it`, {
      field: '--dir',
      exitCode: ExitCode.notAllowed,
      hint: `new certificates with that authority: espalier tls renew --dir ${dir}`,
    });
  try {
    makeFolder(dir);
  } catch (error) {
    throw folderUnusable(dir, error);
  }
  const authority = await newAuthority(`Espalier lab authority of ${hostname()}`.slice(0, 64), AUTHORITY_DAYS);
  write(dir, AUTHORITY, authority);
  await sign(context, dir, authority, withOwnNames(names));
}

async function renewFolder(context: Context, { dir = absolutePath('tls'), names }: FolderOption): Promise<void> {
  let authority: Signed;
  let before: string[];
  try {
    authority = readAuthority(dir);
    before = names === undefined ? namesOf(readCertificate(join(dir, 'server.pem'))) : [];
  } catch (error) {
    // `tls init` does not change a folder that holds an authority.
    const isTaken = existsSync(join(dir, `${AUTHORITY}.pem`));
    const hint = isTaken
      ? `put its files back, or ${ANOTHER_AUTHORITY}`
      : `make an authority with: espalier tls init --dir ${dir} --names HOST,...`;
    throw folderUnusable(dir, error, hint);
  }
  const { validTo } = new X509Certificate(authority.certificate);
  if (Date.parse(validTo) <= Date.now())
    throw new CliError('TLS_CERTIFICATE_EXPIRED', `the authority in ${dir} ended on ${validTo}; it can sign no more`, {
      field: '--dir',
      exitCode: ExitCode.notAllowed,
      hint: ANOTHER_AUTHORITY,
    });
  await sign(context, dir, authority, names === undefined ? before : withOwnNames(names));
}

/** @throws Error that names the file that can't be used */
function readAuthority(dir: string): Signed {
  const files = { certFile: join(dir, `${AUTHORITY}.pem`), keyFile: join(dir, `${AUTHORITY}.key`) };
  const { certificate, key } = readTlsPair(files, readSecretFileSync);
  const secret = createPrivateKey(key);
  if (secret.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new Error(`${files.keyFile} is not a key that \`tls init\` has made`);
  return { certificate: certificate.toString('utf8').trim(), key: secret.export({ format: 'pem', type: 'pkcs8' }).toString() };
}

async function sign({ output }: Context, dir: string, authority: Signed, names: string[]): Promise<void> {
  const wish = (subject: string, use: CertificateWish['use']): CertificateWish => ({ subject, use, days: CERTIFICATE_DAYS });
  const server = await signedBy(authority, { ...wish('Espalier server', 'server'), names });
  // The authority is added: clients of the server's own user recognize the server by it.
  write(dir, 'server', { ...server, certificate: `${server.certificate}\n${authority.certificate}` });
  write(dir, 'client', await signedBy(authority, wish('Espalier client', 'client')));
  const file = (name: string): string => join(dir, name);
  const validUntil = new Date(new X509Certificate(server.certificate).validTo).toISOString();
  const made = { authority: file('authority.pem'), certificate: file('server.pem'), key: file('server.key'), names, validUntil };
  output.result(made, () => {
    output.line(`certificates in ${dir}, valid until ${validUntil.slice(0, 10)}, for ${names.join(', ')}`);
    output.line(`server:  espalier up --listen 0.0.0.0:7433 --tls-cert ${made.certificate} --tls-key ${made.key}`);
    output.line(`clients: espalier --server https://${names[0]}:7433 --tls-ca ${made.authority} runs`);
  });
}

/** Writes the key before the certificate, because a folder counts as complete once the certificate is there. */
function write(folder: string, name: string, { certificate, key }: Signed): void {
  try {
    writeOwnFile(join(folder, `${name}.key`), `${key}\n`);
    writeOwnFile(join(folder, `${name}.pem`), `${certificate}\n`, 0o644);
  } catch (error) {
    throw folderUnusable(folder, error);
  }
}

/** Adds the names of this machine. A host name that is not a valid DNS name is left out. */
function withOwnNames(names: readonly string[]): string[] {
  return [...new Set([...names, hostname(), ...HERE])].filter((name) => HOST_NAME.test(name));
}

function namesOf({ subjectAltName = '' }: X509Certificate): string[] {
  return subjectAltName.split(', ').map((name) => name.replace(/^(DNS|IP Address):/, ''));
}

function folderUnusable(folder: string, cause: unknown, hint?: string): CliError {
  return new CliError('TLS_FILES_UNUSABLE', `the folder ${folder} can't be used: ${(cause as Error).message}`, {
    field: '--dir',
    exitCode: ExitCode.usage,
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** @throws CliError OPTION_INVALID */
function hosts(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  const wrong = names.find((name) => !HOST_NAME.test(name));
  if (wrong !== undefined) throw invalidOption('--names', wrong, 'names and addresses without a port are allowed, with commas');
  return names;
}
