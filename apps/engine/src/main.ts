// The engine process: one device behind a gRPC server. Logs are JSON lines on standard error.
import { keepForOwner, ownVersion } from '#files';
import { openLog, outlivePipes } from '#log';
import { engineV1, onHandlerError, toEspalierError } from '#protocol';
import { chosenDevice, describeEngine, type DeviceDescription } from '#native-engine';
import { LIST_DEVICES, parseArguments, UsageError, type EngineArguments } from './arguments.js';
import { EngineServer } from './engine-server.js';
import { toProtocolError } from './calls/engine-errors.js';
import { engineService } from './engine-service.js';
import { idleLimitMs } from './idle-limit.js';
import { OrchestratorStream } from './orchestrator-stream.js';
import { usualCacheFolder } from './models/model-cache.js';
import { OfferedModels } from './models/offered-models.js';
import { ScratchFolder } from './scratch-folder.js';
import { SessionHolder } from './session-holder.js';
import { HeldStates } from './states/held-states.js';
import { EngineLease } from './engine-lease.js';

const EXIT_DEVICE_LOST = 70;
const EXIT_NOT_LET_IN = 4;
const EXIT_MISTAKE = 2;
const IDLE_LOOK_MS = 500;
const ANSWER_MS = 100; // the caller is told before the process ends
const HAND_IN_MS = 15_000; // for states that the server has not taken
const END_MS = 30_000; // a step of a large model may take seconds; beyond this it hangs

const listsDevices = process.argv.length === 3 && process.argv[2] === LIST_DEVICES;

outlivePipes();
const log = openLog({ base: { process: 'engine', pid: process.pid } });

async function main(): Promise<void> {
  keepForOwner();
  if (listsDevices) {
    process.stdout.write(`${JSON.stringify(describeEngine().devices.map((device) => engineV1.Device.toJSON(device)))}\n`);
    return;
  }
  const args = parsedArguments();
  const version = ownVersion();
  const { build } = describeEngine();
  const device = namedDevice(args);
  const holder = new SessionHolder();
  const scratch = new ScratchFolder(args.scratch);
  const onFailure = (method: string, error: unknown): void => {
    const { code, field, message, stack } = toEspalierError(toProtocolError(error));
    if (code === 'DEVICE_LOST') {
      // Nothing that this process asks of the card succeeds any more. A new process can use it, and runs go on there from their last state.
      log.fatal({ method, code }, message);
      setTimeout(() => process.exit(EXIT_DEVICE_LOST), ANSWER_MS);
      return;
    }
    log.warn({ method, code, field, ...(code === 'INTERNAL' ? { stack } : {}) }, message);
  };
  onHandlerError(onFailure);
  const lease = new EngineLease();
  const models = offeredModels(args, scratch);
  const held = new HeldStates();
  const service = engineService({
    holder,
    lease,
    models,
    held,
    scratch,
    sliceBytes: args.sliceBytes,
    version,
    device: args.device,
    threads: args.threads,
    onFailure,
    log,
  });
  const server = new EngineServer(service, lease);
  const joining = 'join' in args.at ? new OrchestratorStream(args.at.join, server, log, () => lease.silenceMs) : null;
  const idleTimeout = 'join' in args.at ? args.at.join.idleTimeout : undefined;
  const isIdleTooLong = (timeout: number): boolean =>
    Math.min(holder.idleForMs(), models.idleForMs()) > idleLimitMs(timeout, holder.hadSession);
  endOn(args, idleTimeout === undefined ? null : () => isIdleTooLong(idleTimeout), async () => {
    joining?.sayLeaving();
    models.end();
    await server.stop(
      async () => {
        await holder.shutDown();
        await held.handedIn(HAND_IN_MS);
      },
      () => joining?.leave(),
    );
    scratch.clear();
  });
  const address = 'join' in args.at ? args.at.join.address : await server.listen(args.at.listen);
  log.info(
    {
      [joining === null ? 'address' : 'joins']: address,
      version,
      build,
      device: device.name,
      model: device.model,
      instructionSet: device.instructionSet,
      threads: args.threads || device.threads,
    },
    joining === null ? 'listening' : 'dialling in',
  );
  await joining?.stay().catch(async (error: unknown) => {
    const { code, message } = toEspalierError(error);
    log.fatal({ code }, message);
    await holder.shutDown();
    process.stderr.write(`espalier engine: ${message} (${code})\n`);
    process.exit(EXIT_NOT_LET_IN);
  });
}

function refuse(option: string, error: unknown): never {
  const { code, message } = toEspalierError(error);
  process.stderr.write(`espalier engine: ${option}: ${message} (${code})\n`);
  process.exit(EXIT_MISTAKE);
}

function namedDevice({ device }: EngineArguments): DeviceDescription {
  try {
    return chosenDevice(device);
  } catch (error) {
    refuse('--device', error);
  }
}

/** A cache that the user named is looked at before the first model comes. */
function offeredModels({ at }: EngineArguments, scratch: ScratchFolder): OfferedModels {
  const join = 'join' in at ? at.join : undefined;
  const wish = { folder: join?.modelCache ?? usualCacheFolder(), limitBytes: join?.modelCacheBytes ?? 0 };
  const models = new OfferedModels(wish, scratch, log);
  try {
    if (join?.modelCache !== undefined) models.openCache();
  } catch (error) {
    refuse('--model-cache', error);
  }
  return models;
}

function parsedArguments(): EngineArguments {
  try {
    return parseArguments(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(error.exitCode);
  }
}

/** Ends the process once: on a signal, when the parent is gone, or when it was idle for too long. */
function endOn({ exitWithStdin }: EngineArguments, isIdleTooLong: (() => boolean) | null, stop: () => Promise<void>): void {
  let ending = false;
  const end = (reason: string): void => {
    if (ending) return;
    ending = true;
    log.info({ reason }, 'ending');
    // exit() would wait for the step that hangs
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), END_MS).unref();
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'the end went wrong');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  if (isIdleTooLong !== null) setInterval(() => isIdleTooLong() && end('it had no work'), IDLE_LOOK_MS).unref();
  if (!exitWithStdin) return;
  process.stdin.on('end', () => end('standard input closed')).on('error', () => end('standard input failed'));
  process.stdin.resume();
}

process.on('uncaughtException', (error) => {
  log.fatal({ err: error }, 'uncaught');
  process.exit(1);
});

main().catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  if (listsDevices) process.stderr.write(`${message}\n`); // the command line shows it
  else log.fatal({ err: error }, `the engine could not start: ${message}`);
  process.exit(1);
});
