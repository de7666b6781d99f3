// Reads the file of engine hours that a caller may use. It is YAML, and errors name the line and the key. A changed file takes effect
// without a restart.
import { statSync } from 'node:fs';
import type { Pair } from 'yaml';
import type { Logger } from 'pino';
import { EspalierError, toEspalierError } from '#protocol';
import { textOfOptionFile, YamlReader } from '#run-files';

const FIELD = '--engine-hours';
const KEYS = ['hours', 'days', 'callers'];
const HOURS_MAX = 1_000_000;
const DAYS_MAX = 366;
const USUAL_DAYS = 30;
const UNLIMITED = 'unlimited';
const LOOK_AGAIN_MS = 1_000;

export interface HoursQuota {
  /** The hours that each caller may use in the last days; null: as many as the caller likes. */
  hours: number | null;
  days: number;
  /** The hours of callers who have another quota. */
  callers: ReadonlyMap<string, number | null>;
}

/** @throws EspalierError CONFIG_INVALID */
export function readQuotaFile(path: string): HoursQuota {
  return new QuotaReader(path, textOfOptionFile(path, 'the file of engine hours', FIELD), FIELD).read();
}

class QuotaReader extends YamlReader {
  read(): HoursQuota {
    const pairs = this.pairsOf(this.document.contents, 'the file', KEYS);
    const hours = pairs.get('hours');
    const days = pairs.get('days');
    const callers = pairs.get('callers');
    return {
      hours: hours === undefined ? null : this.hoursOf(hours, 'hours'),
      days: days === undefined ? USUAL_DAYS : this.numberOf(days, 'days', 1, DAYS_MAX),
      callers: callers === undefined ? new Map() : this.callersOf(callers),
    };
  }

  private callersOf(pair: Pair): Map<string, number | null> {
    return new Map(Array.from(this.entries(pair.value, 'callers'), ([caller, own]) => [caller, this.hoursOf(own, caller)] as const));
  }

  private hoursOf(pair: Pair, key: string): number | null {
    if (this.textOf(pair, key, `a number of hours, or ${UNLIMITED}`) === UNLIMITED) return null;
    return this.numberOf(pair, key, 0, HOURS_MAX, `, or ${UNLIMITED},`);
  }
}

/** The quotas as the file has them now. A file that became wrong is reported, and its last right state goes on. */
export class QuotaFile {
  private quota: HoursQuota;
  private stamp: string;
  private lookedAtMs = performance.now();
  private log: Pick<Logger, 'info' | 'error'> | null = null;

  /** @throws EspalierError CONFIG_INVALID */
  constructor(private readonly path: string) {
    this.stamp = this.stampNow();
    this.quota = readQuotaFile(path);
  }

  reportTo(log: Pick<Logger, 'info' | 'error'>): void {
    this.log = log;
  }

  get current(): HoursQuota {
    const now = performance.now();
    if (now - this.lookedAtMs >= LOOK_AGAIN_MS) {
      this.lookedAtMs = now;
      this.look();
    }
    return this.quota;
  }

  /** Reads the file again if it has changed. */
  look(): void {
    const stamp = this.stampNow();
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    try {
      this.quota = readQuotaFile(this.path);
      this.log?.info({ file: this.path }, 'the quotas of engine hours were read again');
    } catch (error) {
      const { code, message } = toEspalierError(error);
      this.log?.error({ code, file: this.path }, `the quotas of engine hours stay as they were: ${message}`);
    }
  }

  private stampNow(): string {
    const found = statSync(this.path, { throwIfNoEntry: false });
    return found === undefined ? '' : `${found.ino} ${found.mtimeMs} ${found.size}`;
  }
}

/**
 * The hours that a caller may use, or null for no limit. Names of the server's own user have no colon, so they have a limit only where the
 * file names them.
 */
export function hoursOf({ hours, callers }: HoursQuota, caller: string): number | null {
  const own = callers.get(caller);
  if (own !== undefined) return own;
  return caller.includes(':') ? hours : null;
}

/** The error of a run that waits because its caller has used the quota up. */
export function hoursUsed(caller: string, usedSeconds: number, hours: number, days: number): EspalierError {
  const used = (usedSeconds / 3_600).toFixed(1);
  return new EspalierError(
    'ENGINE_HOURS_USED',
    `${caller} has used ${used} of ${hours} engine hours in the last ${days === 1 ? 'day' : `${days} days`}: ` +
      'it begins when older hours no longer count, or when an administrator raises the quota',
  );
}
