// Connects to an engine that the user started and named. The engine's user is checked before anything is sent, and the engine is claimed
// before it is used (docs/design/engines.md).
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { ownVersion } from '#files';
import { connectionWords, isLoopbackAddress, serverUids } from '#local-access';
import { EspalierError, releaseOf, requireRelease, toEspalierError, type engineV1 } from '#protocol';
import { EngineClient } from './wire/engine-client.js';
import type { EngineConnector, EngineLink } from './engine-link.js';

const ANSWER_TIMEOUT_MS = 5_000;
/** The former holder may be in the middle of a step, which ends first. */
const CLAIM_TIMEOUT_MS = 30_000;
const RELEASE_TIMEOUT_MS = 2_000;
const RENEWALS_PER_LEASE = 3;

export interface LeaseOptions {
  leaseMs: number;
  /** The id of this server's data folder. */
  folderId: string;
  /** Whether this orchestrator drives the runs. If not, its claim is left to run out. */
  mayRenew: () => boolean;
}

export interface NamedEngineOptions extends LeaseOptions {
  address: string;
}

export function namedEngine(options: NamedEngineOptions): EngineConnector {
  /**
   * The lock of the data folder proves that the folder's former process is dead. This holds at the first claim only, since a copy of the
   * folder has no lock.
   */
  let afterFormerLife = true;
  return {
    isNamed: true,
    async look(timeoutMs) {
      const client = new EngineClient(options.address);
      try {
        await requireOwnUser(options.address);
        return await client.describe(timeoutMs);
      } catch {
        return null;
      } finally {
        client.close();
      }
    },
    async visit() {
      await requireOwnUser(options.address);
      const client = new EngineClient(options.address);
      try {
        return { client, about: await answering(options.address, client), close: () => client.close() };
      } catch (error) {
        client.close();
        throw error;
      }
    },
    async connect() {
      await requireOwnUser(options.address);
      const claimed = await claimEngine(options, (claim) => new EngineClient(options.address, claim), {
        ...{ name: options.address, afterFormerLife },
      });
      afterFormerLife = false;
      return claimed;
    },
  };
}

interface ClaimOptions {
  /** The engine's name in messages to users. */
  name: string;
  /** Whether the process that held the engine for this data folder is dead, or is this process after it gave up an earlier connection. */
  afterFormerLife: boolean;
  /** Resolves with a sentence when the connection has ended by itself. */
  ended?: Promise<string>;
  /** Ends the connection. */
  hangUp?: () => void;
  isAwaited?: () => boolean;
  awaitSilent?: () => boolean;
}

/** @throws EspalierError ENGINE_UNAVAILABLE, ENGINE_OF_OTHER_RELEASE, ENGINE_ATTACHED_ELSEWHERE */
export async function claimEngine(
  lease: LeaseOptions,
  clientWith: (claim: string) => EngineClient,
  options: ClaimOptions,
): Promise<EngineLink> {
  const { name, afterFormerLife } = options;
  const claim = randomUUID();
  const client = clientWith(claim);
  try {
    const about = await answering(name, client);
    const holder = { claim, folderId: lease.folderId, slot: name, host: hostname(), pid: process.pid };
    const request = { holder, leaseMs: lease.leaseMs, afterFormerLife };
    await client.claim(request, CLAIM_TIMEOUT_MS);
    return link(client, about, { ...request, afterFormerLife: false }, lease.mayRenew, options);
  } catch (error) {
    client.close();
    throw error;
  }
}

function link(
  client: EngineClient,
  about: engineV1.DescribeEngineResponse,
  request: engineV1.ClaimEngineRequest,
  mayRenew: () => boolean,
  { ended, hangUp, isAwaited = () => false, awaitSilent = () => false }: ClaimOptions,
): EngineLink {
  let cut: () => void = () => undefined;
  const gone = new Promise<string>((resolve) => {
    cut = () => resolve('the connection was cut');
    void ended?.then(resolve);
  });
  let lostTo: EspalierError | null = null;
  // The renewal has its own timer: an engine that sends reports is not asked for its health, and must keep its lease, too.
  const renewal = setInterval(() => {
    if (!mayRenew()) return;
    client.claim(request, CLAIM_TIMEOUT_MS).catch((error: unknown) => {
      if (toEspalierError(error).code === 'ENGINE_ATTACHED_ELSEWHERE') lostTo = toEspalierError(error);
    });
  }, request.leaseMs / RENEWALS_PER_LEASE);
  renewal.unref();
  const close = (reason?: EspalierError): void => {
    clearInterval(renewal);
    client.close(reason);
    cut();
  };
  return {
    client,
    about,
    sharesFiles: false,
    gone,
    isAwaited,
    awaitSilent,
    processorUse: () => null, // the engine's process may run on another machine
    async checkHealth(timeoutMs) {
      if (lostTo !== null) throw lostTo;
      await (mayRenew() ? client.claim(request, timeoutMs) : client.checkHealth(timeoutMs));
    },
    cut(reason) {
      close(reason);
      hangUp?.();
    },
    async end() {
      clearInterval(renewal);
      await client.release(request.holder!.claim, RELEASE_TIMEOUT_MS).catch(() => undefined); // the lease runs out by itself
      close();
    },
  };
}

const saysOf = (error: unknown): string => connectionWords((error as Error).message) ?? (error as Error).message;

/** @throws EspalierError ENGINE_UNAVAILABLE, ENGINE_OF_OTHER_RELEASE */
export async function answering(address: string, client: EngineClient): Promise<engineV1.DescribeEngineResponse> {
  try {
    await client.checkHealth(ANSWER_TIMEOUT_MS);
  } catch (error) {
    throw new EspalierError('ENGINE_UNAVAILABLE', `no engine answers at ${address}: ${saysOf(error)}`);
  }
  const about = await client.describe(ANSWER_TIMEOUT_MS).catch((error: unknown) => {
    throw new EspalierError('ENGINE_UNAVAILABLE', `the program that answers at ${address} is not an engine: ${saysOf(error)}`);
  });
  requireRelease(`engine ${address}`, about.release, releaseOf(ownVersion()));
  return about;
}

/** @throws EspalierError ENGINE_UNAVAILABLE, ENGINE_OF_ANOTHER_USER */
async function requireOwnUser(address: string): Promise<void> {
  if (!isLoopbackAddress(address)) return; // the user of another machine's process can't be found out, as --allow-insecure-remote says
  const uids = await serverUids(address).catch((error: unknown) => {
    throw new EspalierError('ENGINE_UNAVAILABLE', `no engine answers at ${address}: ${saysOf(error)}`);
  });
  const foreign = [...uids].find((uid) => uid !== process.geteuid?.());
  if (!uids.has(undefined) && foreign === undefined) return;
  const whose = foreign === undefined ? 'a user that the kernel does not tell' : `another user (${foreign})`;
  throw new EspalierError(
    'ENGINE_OF_ANOTHER_USER',
    `the process that answers at ${address} belongs to ${whose}: the server sends it nothing`,
  );
}
