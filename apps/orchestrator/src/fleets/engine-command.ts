// The command by which a job starts an engine. It names files that hold secrets and never contains a secret.
import { programFile } from '#files';
import type { JobKind } from './fleet-settings.js';

const ENGINE = new URL('../../../engine/src/main.js', import.meta.url);

export interface EngineFiles {
  /** The server's address, as engines reach it. */
  join: string;
  tokenFile: string;
  /** Null where the engines know the authority of the server's certificate. */
  tlsCa: string | null;
}

/** The program's name in an image. */
const OF_IMAGE = ['espalier', 'engine'];

export function engineCommand(job: JobKind, files: EngineFiles, engine: string): string[] {
  const { kubernetes, command, cpus, idleSeconds, cards } = job;
  // A job sees only its own cards, numbered from 0. It never computes on the processor in their place.
  const devices = cards === null ? ['cpu'] : Array.from({ length: cards.count }, (_, card) => `cuda:${card}`);
  const options: [string, string | number | null][] = [
    ['--join', files.join],
    ['--token-file', files.tokenFile],
    ['--tls-ca', files.tlsCa],
    ['--name', engine],
    ['--device', devices.join('+')],
    ['--threads', Math.max(1, Math.floor(cpus / devices.length))], // for each device
    ['--idle-timeout', idleSeconds],
  ];
  const words = options.flatMap(([option, value]) => (value === null ? [] : [option, String(value)]));
  return [...(command ?? (kubernetes !== null ? OF_IMAGE : [process.execPath, programFile(ENGINE)])), ...words];
}
