// The command devices, which lists the devices that engines can compute on: the server's devices, or this machine's if no server runs.
import { execFile } from 'node:child_process';
import type { Command } from 'commander';
import { programFile } from '#files';
import { v1 } from '#protocol';
import { CliError } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { buildEngineOnce } from '../../local-server/engine-build.js';
import { bytes } from '../../output/format.js';
import { action, examples } from '../command.js';

const ENGINE = new URL('../../../../engine/src/main.js', import.meta.url);
const ASK_TIMEOUT_MS = 30_000;

export function registerDevices(program: Command): void {
  const devices = program
    .command('devices')
    .summary('list processors and cards that engines can compute on')
    .description(
      'Lists the devices that engines can compute on, preferred ones first, and says why a device can not be used. ' +
        'It asks the server. While no server runs, it lists those of this machine. A name goes to: espalier up --device NAME.',
    );
  examples(devices, ['espalier devices'], ['espalier devices --json | jq -r ".devices[] | select(.problem == \\"\\") | .name"']);
  action(devices, async (context) => {
    const list = await listed(context);
    context.output.result({ devices: list }, () => printDevices(context, list));
  });
}

async function listed(context: Context): Promise<v1.Device[]> {
  const { signal } = context;
  let isNamed = false;
  try {
    const { connection } = context;
    // A server at the default port is not the server of this data folder.
    if (connection.server.origin === 'default') return await devicesHere(signal);
    isNamed = connection.server.origin === 'named';
    return (await connection.call(connection.engines, connection.engines.listDevices, {})).devices;
  } catch (error) {
    if (isNamed || !(error instanceof CliError && error.code === 'SERVER_UNAVAILABLE')) throw error;
    return devicesHere(signal);
  }
}

/** @throws CliError DEVICES_UNKNOWN, NOT_BUILT */
async function devicesHere(signal: AbortSignal): Promise<v1.Device[]> {
  await buildEngineOnce(signal);
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [programFile(ENGINE), '--list-devices'], { signal, timeout: ASK_TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error === null) resolve((JSON.parse(stdout) as unknown[]).map((device) => v1.Device.fromJSON(device)));
      else
        reject(
          new CliError('DEVICES_UNKNOWN', `the engine can't say what it computes on: ${stderr.trim() || error.message}`, { cause: error }),
        );
    });
  });
}

function printDevices({ output }: Context, devices: v1.Device[]): void {
  output.table(
    ['DEVICE', 'USABLE', 'MODEL', 'MEMORY', 'FREE', 'KERNELS', 'ENGINES'],
    devices.map(({ name, model, memoryBytes, memoryAvailableBytes, instructionSet, engines, problem }) => [
      name,
      problem === '' ? output.style('green', 'yes') : output.style('red', 'no'),
      model,
      memoryBytes === 0n ? '' : bytes(memoryBytes),
      memoryBytes === 0n ? '' : bytes(memoryAvailableBytes),
      instructionSet,
      engines.join(' '),
    ]),
    [3, 4],
    { MODEL: 'cut', KERNELS: 2, ENGINES: 1 },
  );
  const unusable = devices.filter(({ problem }) => problem !== '');
  if (unusable.length === 0) return;
  output.line();
  for (const { name, problem } of unusable) output.indented(`${name}: `, 4, problem);
}
