// Starts the orchestrator: data folder, event store, providers, driver, server. It stops them in the opposite order.
import 'reflect-metadata';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { NestFactory } from '@nestjs/core';
import { CommanderError } from 'commander';
import type { Logger } from 'pino';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { notingStore, requireKnownSchema } from '#event-store';
import { keepForOwner } from '#files';
import { TlsIdentity } from '#local-access';
import { openLog, outlivePipes } from '#log';
import { EspalierError, statusOf, toEspalierError } from '#protocol';
import { TokenKeeper } from './access/token-keeper.js';
import { AppModule } from './app.module.js';
import { DEFAULT_WEB, parseConfig, WEB_OFF, type OrchestratorConfig } from './config.js';
import { DataFolder } from './storage/data-folder.js';
import { DRIVER_STREAM, DriverLease } from './storage/driver-lease.js';
import { EventStoreHost } from './storage/event-store.provider.js';
import { EnginePool } from './engine-pool/engine-pool.js';
import { JoinedEngines } from './engine-pool/joined-engines.js';
import { GrpcServer } from './api/grpc-server.js';
import { RunDriver } from './run-execution/run-driver.js';
import { notifySystemd } from './monitoring/systemd.js';
import { Tallies } from './monitoring/tallies.js';
import { timedStore } from './monitoring/timed-store.js';
import { withRetries } from './event-sourcing/store-retries.js';
import { giveWayToEngines } from './engines/spawn-thread.js';
import { bindStore, requireStoreFiles } from './storage/store-binding.js';
import { PageRepository } from './pages/page-repository.js';
import { StudyDriver } from './studies/study-driver.js';
import { StorageWatch } from './storage/storage-watch.js';
import type { WebSecrets } from './web/web-access.js';
import { WebServer } from './web/web-server.js';
import { QuotaFile } from './hours/quota-file.js';
import { Fleet } from './fleets/fleet.js';
import { readFleetFile } from './fleets/fleet-file.js';
import { Logins } from './logins/logins.js';
import { readOidcFile } from './logins/oidc-file.js';
import { readWebhookFile } from './webhooks/webhook-file.js';
import { requireKnownOutbox } from './webhooks/outbox.js';
import { OUTBOX_FILE, Webhooks } from './webhooks/webhooks.js';

const AUTO_DEVICE = 'auto';
const STOP_TIMEOUT_MS = 30_000;
/** The exit codes of the command line, which hands them on. */
const [EXIT_FAILED, EXIT_USAGE] = [1, 2];

async function main(): Promise<void> {
  keepForOwner();
  const config = parseConfig(process.argv);
  const files = readOptionFiles(config);
  outlivePipes();
  const log = openLog({ level: config.logLevel, base: { pid: process.pid } });
  if (config.engines > 0 || files.fleet?.kind === 'local') giveWayToEngines();
  requireKnownSchemas(config);
  const folder = DataFolder.open(config.dataFolder);
  const token = config.openLoopback ? null : folder.newToken();
  const tls = tlsIdentity(config);
  const tallies = new Tallies();
  const { eventStore, store, artifacts, condition, seen } = await openStores(config, tallies, log);
  const leaseMs = config.leaseSeconds * 1_000;
  const lease = new DriverLease({ store, folderId: folder.id, leaseMs, log, ownsStore: config.eventStore === undefined });
  const cookieKey = (): string => folder.cookieKey();
  const stores = { store, condition, artifacts, lease };
  const parts = { config, ...stores, folderId: folder.id, token, tls, tallies, ...files, cookieKey, log };
  const app = await NestFactory.createApplicationContext(AppModule.of(parts), { logger: ['error', 'warn'], abortOnError: false });
  await app.init();
  // A named device is checked at once. With `auto`, a device is looked for when an engine is first needed.
  warnOfThreads(config, log);
  const pool = app.get(EnginePool);
  await acquireNamedDevices(pool, config);
  const driver = app.get(RunDriver);
  const server = app.get(GrpcServer);
  await driver.start();
  app.get(StudyDriver).start();
  app.get(Webhooks).start();
  pool.onChange(() => server.setEnginesServing(pool.canWork));
  server.setEnginesServing(pool.canWork);
  const storage = app.get(StorageWatch);
  let [reachable, canRecord] = [true, true];
  const publishHealth = (): void => {
    const serving = reachable && canRecord && (artifacts.reach?.problem ?? null) === null;
    server.setServing(serving);
    app.get(WebServer).setServing(serving);
  };
  followBucket(artifacts, publishHealth, log);
  eventStore.onReachable = (is) => {
    reachable = is;
    condition.answers(is);
    publishHealth();
  };
  storage.onChange = (can) => {
    canRecord = can;
    publishHealth();
  };
  storage.start();
  await app.get(TokenKeeper).start();
  app.get(Logins).start();
  const listen = await server.listen(config.listen);
  const web = await serveWeb(app.get(WebServer), config, { token, folderId: folder.id, cookieKey, tls });
  announce(folder, listen, web, tls, log);
  app.get(Fleet).start(listen);
  lease.announce(listen);
  sayReady(listen, web, config);
  notifySystemd(log);

  let stopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (stopping) return;
    stopping = true;
    endByForce(folder, log);
    log.info({ signal }, 'stopping at the next step boundary');
    storage.stop();
    await Promise.all([app.get(StudyDriver).stop(), app.get(PageRepository).stop(), app.get(Fleet).stop()]);
    await driver.stop();
    app.get(JoinedEngines).close();
    await lease.stop();
    await Promise.all([server.close(), app.get(WebServer).close()]);
    tls?.close();
    app.get(Logins).stop();
    await Promise.all([app.get(TokenKeeper).stop(), app.get(Webhooks).stop()]);
    await app.close();
    await eventStore.close();
    seen.close();
    folder.close();
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(
      signal,
      () =>
        void stop(signal).catch((error: unknown) => {
          log.error({ err: error }, 'the stop went wrong');
          process.exit(1);
        }),
    );
  }
  outliveDefects(log);
}

/** @throws EspalierError CONFIG_INVALID */
function readOptionFiles({ webhooks, fleet, oidc, tls, engineHours }: OrchestratorConfig) {
  return {
    quotas: engineHours === undefined ? null : new QuotaFile(engineHours),
    webhooks: readWebhookFile(webhooks),
    fleet: readFleetFile(fleet, tls !== undefined),
    oidc: readOidcFile(oidc),
  };
}

/** Reports when the bucket stops answering and when it answers again. Its requests are repeated without this. */
function followBucket({ reach }: ArtifactStore, publishHealth: () => void, log: Logger): void {
  const reportChange = (): void => {
    const problem = reach?.problem ?? null;
    if (problem === null) log.info('the artifact store answers again: everything goes on');
    else log.error({ code: problem.code }, problem.message);
    publishHealth();
  };
  reach?.onChange(reportChange);
  if (reach?.problem != null) reportChange();
}

/** Tells the process that has started this one that the server is ready. */
function sayReady(listen: string, web: string | null, { dataFolder }: OrchestratorConfig): void {
  const ready = { ready: true, listen, ...(web === null ? {} : { web }), dataFolder, pid: process.pid };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

/**
 * Ends the process if its stop takes long: an event store that never answers must not keep the server from stopping. Steps that are not
 * recorded are trained again.
 */
function endByForce(folder: DataFolder, log: Logger): void {
  setTimeout(() => {
    log.error(`the stop in good order took more than ${STOP_TIMEOUT_MS / 1_000} s: the process ends by force`);
    folder.closeByForce(); // clients must not be sent to a server that is gone
    process.exit(1);
  }, STOP_TIMEOUT_MS).unref();
}

function outliveDefects(log: Logger): void {
  // A defect in one call must not end all runs.
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'an error was not handled'));
  process.on('uncaughtException', (error) => {
    if (!isOfDisk(error)) {
      log.fatal({ err: error }, 'an unexpected error ends the orchestrator; its runs go on at its next start');
      process.exit(1);
    }
    log.error({ err: error }, 'a disk or a pipe failed outside of any call');
  });
}

/** @throws EspalierError TLS_FILES_UNUSABLE */
function tlsIdentity({ tls }: OrchestratorConfig): TlsIdentity | null {
  try {
    return tls === undefined ? null : new TlsIdentity(tls);
  } catch (error) {
    const { message } = error as Error;
    throw new EspalierError('TLS_FILES_UNUSABLE', message, {
      violations: [{ field: '--tls-cert', description: message, code: 'TLS_FILES_UNUSABLE' }],
      cause: error,
    });
  }
}

/** Tells this user's clients where the server is, and by which certificate they know it. */
function announce(folder: DataFolder, listen: string, web: string | null, tls: TlsIdentity | null, log: Logger): void {
  folder.announce(listen, web, tls);
  tls?.watch({
    renewed: () => {
      folder.announce(listen, web, tls);
      log.info('new connections get the new certificate');
    },
    unusable: (problem) =>
      log.error({ problem: problem.message }, 'the new files for TLS can not be used; the old certificate stays in use'),
    endsSoon: (end) => log.warn({ end }, 'the certificate of this server ends soon, or has ended: new files are taken without a restart'),
  });
}

/**
 * Refuses a data folder that a later release has changed, before anything is written to it. The views need no check, since they are made
 * again from the events. @throws STORE_SCHEMA_TOO_NEW, WEBHOOKS_OF_LATER_RELEASE
 */
function requireKnownSchemas({ dataFolder, eventStore }: OrchestratorConfig): void {
  if (eventStore === undefined) requireKnownSchema(join(dataFolder, 'event-store'));
  requireKnownOutbox(join(dataFolder, OUTBOX_FILE));
}

/** Opens the event store and the artifact store. */
async function openStores(config: OrchestratorConfig, tallies: Tallies, log: Logger) {
  const artifacts = await openArtifactStore(config.bucket ?? { folder: config.artifactFolder });
  await requireStoreFiles(config, artifacts);
  const eventStore = await EventStoreHost.open(config, log);
  const { condition, seen } = await withRetries(() => bindStore(config, eventStore.store, artifacts, log), { retryForMs: Infinity });
  const store = timedStore(notingStore(eventStore.store, condition, new Set([DRIVER_STREAM])), tallies);
  return { eventStore, store, artifacts, condition, seen };
}

function warnOfThreads({ engines, threads }: OrchestratorConfig, log: Logger): void {
  const cores = availableParallelism();
  if (engines * threads > cores) log.warn({ engines, threads, cores }, 'the engines have more threads than there are cores');
}

async function acquireNamedDevices({ slots }: EnginePool, { devices }: OrchestratorConfig): Promise<void> {
  for (const device of new Set(devices)) if (device !== AUTO_DEVICE) await slots.find((slot) => slot.device === device)?.acquire();
}

/** Starts the web server. Returns the page's address, or null where none is wanted. */
async function serveWeb(server: WebServer, { web }: OrchestratorConfig, secrets: WebSecrets): Promise<string | null> {
  if (web === WEB_OFF) return null;
  return server.listen(web ?? DEFAULT_WEB, secrets, web === undefined);
}

function isOfDisk(error: unknown): boolean {
  const code = String((error as { code?: unknown }).code);
  return ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EPIPE'].includes(code) || code.startsWith('SQLITE_FULL') || code.startsWith('SQLITE_IOERR');
}

/** Tells whether another value of an option, or another file that an option names, would let the server start. */
function isMistakeInOptions(error: unknown): boolean {
  const { code, field } = toEspalierError(error);
  return field.startsWith('--') || statusOf(code) === status.INVALID_ARGUMENT;
}

main().catch((error: unknown) => {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) process.exit(0); // help was asked for
    process.stderr.write(`espalier: ${error.message.replace(/^error: /, '')} (USAGE)\n`);
    process.exit(EXIT_USAGE);
  }
  const { code, message } = toEspalierError(error);
  process.stderr.write(`espalier: ${message} (${code})\n`);
  process.exit(isMistakeInOptions(error) ? EXIT_USAGE : EXIT_FAILED);
});
