// The words by which a job starts an engine. They name files that hold secrets, never the secrets.
import { programFile } from '#files';
import type { FleetSettings } from './fleet-file.js';

const ENGINE = new URL('../../../engine/src/main.js', import.meta.url);

export interface EngineFiles {
  /** The server's address, as engines reach it. */
  join: string;
  tokenFile: string;
}

export function engineCommand({ command, cpus, idleSeconds, tlsCa, slurm }: FleetSettings, files: EngineFiles, engine: string): string[] {
  const options: [string, string | number | null][] = [
    ['--join', files.join],
    ['--token-file', files.tokenFile],
    ['--tls-ca', tlsCa],
    ['--name', engine],
    ['--device', slurm?.gres == null ? 'cpu' : 'cuda:0'], // a job with a card never computes on the processor in its place
    ['--threads', cpus],
    ['--idle-timeout', idleSeconds],
  ];
  const words = options.flatMap(([option, value]) => (value === null ? [] : [option, String(value)]));
  return [...(command ?? [process.execPath, programFile(ENGINE)]), ...words];
}
