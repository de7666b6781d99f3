// Sets up TLS: the authorities by which a client recognizes a server, the client's own certificate, and the token in a file.
import { X509Certificate } from 'node:crypto';
import { credentials, type ChannelCredentials, type ChannelOptions, type ServiceError } from '@grpc/grpc-js';
import { readSecretFileSync, readUserFileSync } from '#files';
import { tlsProblemIn } from '#local-access';
import { canBeToken } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';
import type { ServerAddress } from './server-address.js';

const FILE_BYTES_MAX = 1 << 20;

/** TLS as the server announces it: its authority in PEM ('': one that the system trusts), and a name in its certificate. */
export interface AnnouncedTls {
  authority: string;
  name: string;
}

export interface ServerTls {
  /** The authority in PEM; undefined: the authorities that the system trusts. */
  authority: Buffer | undefined;
  /** The name in the server's certificate, if it differs from the address. */
  name: string | undefined;
  certificate: Buffer | undefined;
  key: Buffer | undefined;
}

export function isAnnouncedTls(tls: unknown): tls is AnnouncedTls {
  const { authority, name } = (tls ?? {}) as Record<string, unknown>;
  return typeof authority === 'string' && typeof name === 'string';
}

/** @param own the announcement of the data folder's own server. @throws CliError FILE_UNUSABLE */
export function serverTls(tlsCa: string | undefined, own?: AnnouncedTls): ServerTls {
  const announced = own === undefined || own.authority === '' ? undefined : Buffer.from(own.authority);
  return {
    authority: authorityOf(tlsCa ?? process.env['ESPALIER_TLS_CA']) ?? announced,
    name: own?.name,
    certificate: fileOf('ESPALIER_TLS_CLIENT_CERT', process.env['ESPALIER_TLS_CLIENT_CERT'], readUserFileSync),
    key: fileOf('ESPALIER_TLS_CLIENT_KEY', process.env['ESPALIER_TLS_CLIENT_KEY'], readSecretFileSync),
  };
}

/** Returns the token that the user names; undefined: none. @throws CliError FILE_UNUSABLE, OPTION_INVALID */
export function givenToken(tokenFile: string | undefined): string | undefined {
  const file = tokenFile ?? process.env['ESPALIER_TOKEN_FILE'];
  const read = fileOf('--token-file', file, readSecretFileSync)?.toString('utf8').trim();
  if (read !== undefined) {
    if (!canBeToken(read)) throw unusable('--token-file', `${file} holds no token: a file with one token, and nothing else, is allowed`);
    return read;
  }
  const token = process.env['ESPALIER_TOKEN']?.trim() || undefined;
  if (token !== undefined && !canBeToken(token))
    throw new CliError('OPTION_INVALID', 'ESPALIER_TOKEN holds no token: one token, and nothing else, is allowed', {
      field: 'ESPALIER_TOKEN',
      exitCode: ExitCode.usage,
    });
  return token;
}

/** Reads the authority. The TLS library would accept a file without a certificate, as an authority that signs nothing. */
function authorityOf(path: string | undefined): Buffer | undefined {
  const authority = fileOf('--tls-ca', path, readUserFileSync);
  if (authority === undefined) return undefined;
  try {
    new X509Certificate(authority);
  } catch (error) {
    throw unusable('--tls-ca', `${path} holds no certificate of an authority in PEM`, error);
  }
  return authority;
}

function fileOf(option: string, path: string | undefined, read: (path: string, limitBytes: number) => Buffer): Buffer | undefined {
  if (!path) return undefined;
  try {
    return read(path, FILE_BYTES_MAX);
  } catch (error) {
    throw unusable(option, (error as Error).message, error);
  }
}

function unusable(option: string, problem: string, cause?: unknown): CliError {
  return new CliError('FILE_UNUSABLE', problem, { field: option, exitCode: ExitCode.usage, cause });
}

/** @throws CliError TLS_FILES_UNUSABLE */
export function channelOf({ tls }: ServerAddress): { secret: ChannelCredentials; options: ChannelOptions } {
  if (tls === null) return { secret: credentials.createInsecure(), options: {} };
  const { authority, name, certificate, key } = tls;
  // The gRPC library also sends a numeric address as the server's name. Node warns of that, and the user's terminal would show it.
  process.noDeprecation = true;
  try {
    return {
      secret: credentials.createSsl(authority ?? null, key ?? null, certificate ?? null),
      options: name === undefined ? {} : { 'grpc.ssl_target_name_override': name, 'grpc.default_authority': name },
    };
  } catch (error) {
    throw new CliError('TLS_FILES_UNUSABLE', `the files for TLS can't be used: ${(error as Error).message}`, {
      exitCode: ExitCode.usage,
      cause: error,
      hint: '--tls-ca is an authority; ESPALIER_TLS_CLIENT_CERT and ESPALIER_TLS_CLIENT_KEY are a certificate and its key; all in PEM',
    });
  }
}

/** Returns the error for a call that failed because of TLS; undefined: it failed for another reason. */
export function tlsProblem({ address, tls }: ServerAddress, error: ServiceError): CliError | undefined {
  const found = tls === null ? undefined : tlsProblemIn(error.details);
  if (found === undefined) return undefined;
  const { code, message, hint } = found;
  return new CliError(code, `the server at ${address} ${message}`, {
    exitCode: ExitCode.unavailable,
    cause: error,
    hint,
  });
}
