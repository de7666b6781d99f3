// The words by which a job starts an engine. They name files that hold secrets, never the secrets.
import { programFile } from '#files';
import type { FleetSettings } from './fleet-settings.js';

const ENGINE = new URL('../../../engine/src/main.js', import.meta.url);

export interface EngineFiles {
  /** The server's address, as engines reach it. */
  join: string;
  tokenFile: string;
  /** null: the engines know the authority of the server's certificate. */
  tlsCa: string | null;
}

/** An image has the program by this name. */
const OF_IMAGE = ['espalier', 'engine'];

export function engineCommand(settings: FleetSettings, files: EngineFiles, engine: string): string[] {
  const { kind, command, cpus, idleSeconds, cards } = settings;
  // A job sees its own cards only, from number 0 on. It never computes on the processor in their place.
  const devices = cards === null ? ['cpu'] : Array.from({ length: cards.count }, (_, card) => `cuda:${card}`);
  const options: [string, string | number | null][] = [
    ['--join', files.join],
    ['--token-file', files.tokenFile],
    ['--tls-ca', files.tlsCa],
    ['--name', engine],
    ['--device', devices.join('+')],
    ['--threads', Math.max(1, Math.floor(cpus / devices.length))], // of each device
    ['--idle-timeout', idleSeconds],
  ];
  const words = options.flatMap(([option, value]) => (value === null ? [] : [option, String(value)]));
  return [...(command ?? (kind === 'kubernetes' ? OF_IMAGE : [process.execPath, programFile(ENGINE)])), ...words];
}
