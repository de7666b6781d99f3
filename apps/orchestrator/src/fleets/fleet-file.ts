// The file of a fleet that a user writes: YAML, with errors that name the line and the key.
import { dirname, resolve } from 'node:path';
import { isSeq, type Pair } from 'yaml';
import { addressProblem, isLoopbackAddress } from '#local-access';
import { wholeNumberOf } from '#protocol';
import { textOfOptionFile, YamlReader } from '#run-files';

export const FLEET_KINDS = ['slurm', 'local'] as const;
export type FleetKind = (typeof FLEET_KINDS)[number];

export interface FleetSettings {
  kind: FleetKind;
  /** Engines and jobs are named after it. */
  name: string;
  maxEngines: number;
  /** Threads of each engine, and processors of its job. */
  cpus: number;
  /** An engine without work ends after this time. */
  idleSeconds: number;
  /** The time between two looks at the jobs. */
  pollSeconds: number;
  /** The server, as engines reach it; null: at its own address on this machine. */
  join: string | null;
  /** The authority of the server's certificate, as engines see the file. */
  tlsCa: string | null;
  /** How a job starts an engine, before the engine's options; null: the program of this installation. */
  command: readonly string[] | null;
  /** Where the server keeps the token of its engines; null: in its data folder. */
  tokenFile: string | null;
  /** For what jobs print; null: in the data folder. */
  logs: string | null;
  /** null: a fleet of this machine. */
  slurm: SlurmSettings | null;
}

/** The wishes of each job. */
export interface SlurmSettings {
  /** The first that has room is taken; an empty list: the cluster's default. */
  partitions: readonly string[];
  /** Cards of each engine, which compute the steps of its run together; null: it computes on the processor. */
  cards: { type: string | null; count: number } | null;
  memoryGb: number | null;
  timeLimitMinutes: number | null;
  /** So long before the time limit an engine is told to end. */
  warningSeconds: number;
  /** Options of sbatch beside those. */
  options: readonly string[];
}

const FIELD = '--fleet';
const ENGINES_MAX = 64;
const CPUS_MAX = 1_024;
const WORDS_MAX = 32;
const USUAL = { idleSeconds: 300, pollSeconds: 15, warningSeconds: 60 };
const NAME = /^[a-z][a-z0-9-]{0,19}$/;
const PARTITION = /^[A-Za-z0-9][\w.-]{0,63}$/;
const CARDS = /^(?:([A-Za-z0-9][\w.-]{0,63}):)?([1-9]\d?)$/;
const CARDS_MAX = 16;
/** An option and its value are one word, so that no word is taken for the name of a script. */
const SBATCH_OPTION = /^--([a-z][a-z0-9-]*)(=[^\0\n\r]*)?$/;
/** The fleet sets these, or finds its jobs by them. Other forms of a job are none that one engine runs in. */
const SET_BY_FLEET = [
  ...['job-name', 'comment', 'output', 'error', 'input', 'open-mode', 'requeue', 'no-requeue', 'parsable', 'signal', 'ntasks', 'nodes'],
  ...[
    'cpus-per-task',
    'partition',
    'mem',
    'time',
    'array',
    'wrap',
    'wait',
    'test-only',
    'clusters',
    'cluster',
    'uid',
    'gid',
    'hold',
    'quiet',
  ],
  ...['help', 'usage', 'version', 'ignore-pbs', 'container', 'export-file'],
];
const COMMON_KEYS = [
  ...['kind', 'name', 'max_engines', 'cpus', 'idle_seconds', 'poll_seconds', 'join', 'tls_ca', 'command', 'token_file', 'logs'],
];
const SLURM_KEYS = ['partitions', 'gpus', 'memory_gb', 'time_limit_minutes', 'warning_seconds', 'sbatch'];

/** @param isTls whether the server speaks TLS: its engines then need the name in its certificate. @throws EspalierError CONFIG_INVALID */
export function readFleetFile(path: string | undefined, isTls = false): FleetSettings | null {
  if (path === undefined) return null;
  return new FleetReader(path, textOfOptionFile(path, 'the file of the fleet', FIELD), FIELD).read(dirname(path), isTls);
}

class FleetReader extends YamlReader {
  /** @param folder that relative paths are of */
  read(folder: string, isTls: boolean): FleetSettings {
    const pairs = new Map(this.entries(this.document.contents, 'the file'));
    const kind = this.kindOf(pairs.get('kind'));
    const allowed = kind === 'slurm' ? [...COMMON_KEYS, ...SLURM_KEYS] : COMMON_KEYS;
    for (const [key, pair] of pairs) if (!allowed.includes(key)) throw this.unknown(key, pair, allowed);
    const given = <T>(key: string, read: (pair: Pair) => T, otherwise: T): T => {
      const pair = pairs.get(key);
      return pair === undefined ? otherwise : read(pair);
    };
    const number = (key: string, least: number, most: number, otherwise: number): number =>
      given(key, (pair) => this.numberOf(pair, key, least, most), otherwise);
    const path = (key: string): string | null =>
      given<string | null>(key, (pair) => resolve(folder, this.textOf(pair, key, 'a path')), null);
    const join = given<string | null>('join', (pair) => this.joinOf(pair), null);
    if (kind === 'slurm' && join === null) throw this.missing('join', 'the address of the server, as the nodes of the cluster reach it');
    if (join === null && isTls) throw this.missing('join', 'https://NAME:PORT, with a name in the certificate of the server,');
    const tlsCa = path('tls_ca');
    if (tlsCa !== null && join?.startsWith('https://') !== true)
      throw this.wrong(pairs.get('tls_ca')!, 'tls_ca', 'goes with a join of https://');
    return {
      kind,
      name: given('name', (pair) => this.nameOf(pair), kind),
      maxEngines: this.neededNumber(pairs, 'max_engines', ENGINES_MAX),
      cpus: this.neededNumber(pairs, 'cpus', CPUS_MAX),
      idleSeconds: number('idle_seconds', 1, 86_400, USUAL.idleSeconds),
      pollSeconds: number('poll_seconds', 1, 600, USUAL.pollSeconds),
      join,
      tlsCa,
      command: given<string[] | null>('command', (pair) => this.commandOf(pair), null),
      tokenFile: path('token_file'),
      logs: path('logs'),
      slurm: kind === 'local' ? null : this.slurmOf(pairs, given, number),
    };
  }

  private slurmOf(
    pairs: ReadonlyMap<string, Pair>,
    given: <T>(key: string, read: (pair: Pair) => T, otherwise: T) => T,
    number: (key: string, least: number, most: number, otherwise: number) => number,
  ): SlurmSettings {
    const orNull = (key: string, most: number): number | null => (pairs.has(key) ? number(key, 1, most, 1) : null);
    const timeLimitMinutes = orNull('time_limit_minutes', 60 * 24 * 365);
    const warningSeconds = number('warning_seconds', 1, 3_600, USUAL.warningSeconds);
    if (timeLimitMinutes !== null && warningSeconds >= timeLimitMinutes * 60) {
      const [key, pair] = pairs.has('warning_seconds')
        ? (['warning_seconds', pairs.get('warning_seconds')!] as const)
        : (['time_limit_minutes', pairs.get('time_limit_minutes')!] as const);
      throw this.wrong(
        pair,
        key,
        `the warning comes ${warningSeconds} s before a limit of ${timeLimitMinutes} min: it must leave time to work`,
      );
    }
    return {
      partitions: given('partitions', (pair) => this.partitionsOf(pair), [] as string[]),
      cards: given<SlurmSettings['cards']>('gpus', (pair) => this.cardsOf(pair), null),
      memoryGb: orNull('memory_gb', 65_536),
      timeLimitMinutes,
      warningSeconds,
      options: given('sbatch', (pair) => this.optionsOf(pair), [] as string[]),
    };
  }

  private kindOf(pair: Pair | undefined): FleetKind {
    if (pair === undefined) throw this.missing('kind', FLEET_KINDS.join(' or '));
    const text = this.textOf(pair, 'kind', 'a word');
    const kind = FLEET_KINDS.find((one) => one === text);
    if (kind !== undefined) return kind;
    throw this.wrong(pair, 'kind', `${JSON.stringify(text)}: allowed are ${FLEET_KINDS.join(', ')}`);
  }

  private nameOf(pair: Pair): string {
    const name = this.textOf(pair, 'name', 'a name');
    if (NAME.test(name)) return name;
    throw this.wrong(pair, 'name', 'at most 20 small letters, digits and hyphens are allowed, a letter first');
  }

  private neededNumber(pairs: ReadonlyMap<string, Pair>, key: string, most: number): number {
    const pair = pairs.get(key);
    if (pair === undefined) throw this.missing(key, `a whole number from 1 to ${most}`);
    return this.numberOf(pair, key, 1, most);
  }

  private numberOf(pair: Pair, key: string, least: number, most: number): number {
    try {
      const value = wholeNumberOf(this.textOf(pair, key, 'a number'));
      if (value >= least && value <= most) return value;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    throw this.wrong(pair, key, `a whole number from ${least} to ${most} is needed`);
  }

  /** The same rule as that of `espalier engine --join`. */
  private joinOf(pair: Pair): string {
    const text = this.textOf(pair, 'join', 'an address');
    const [, scheme = '', address = ''] = /^(https?:\/\/)?([^/]+)\/?$/.exec(text) ?? [];
    const needed = 'https://HOST:PORT is allowed, and HOST:PORT on this machine';
    if (address.startsWith('unix:') || addressProblem(address, { anyPort: false }) !== null) throw this.wrong(pair, 'join', needed);
    if (scheme === '' && !isLoopbackAddress(address))
      throw this.wrong(pair, 'join', `${needed}: a token goes to another machine with TLS, or with http:// where something else encrypts`);
    return text;
  }

  private commandOf(pair: Pair): string[] {
    if (!isSeq(pair.value)) throw this.wrong(pair, 'command', 'a list of words is needed: [/opt/espalier/bin/espalier, engine]');
    const words = this.itemsOf(pair, 'command');
    if (words.length === 0 || words.length > WORDS_MAX) throw this.wrong(pair, 'command', `1 to ${WORDS_MAX} words are needed`);
    if (words.some((word) => word === '' || /[\0\n\r]/.test(word)))
      throw this.wrong(pair, 'command', 'an empty word, or one with a line break, is not allowed');
    return words;
  }

  private partitionsOf(pair: Pair): string[] {
    const names = isSeq(pair.value) ? this.itemsOf(pair, 'partitions') : [this.textOf(pair, 'partitions', 'a name, or a list of names,')];
    const wrong = names.find((name) => !PARTITION.test(name));
    if (names.length > 0 && wrong === undefined) return names;
    throw this.wrong(
      pair,
      'partitions',
      `names of letters, digits and . _ - are needed${wrong === undefined ? '' : `, not ${JSON.stringify(wrong)}`}`,
    );
  }

  private cardsOf(pair: Pair): SlurmSettings['cards'] {
    const [, type, digits] = CARDS.exec(this.textOf(pair, 'gpus', 'a number of cards')) ?? [];
    const count = Number(digits);
    if (!(count <= CARDS_MAX)) throw this.wrong(pair, 'gpus', `1 to ${CARDS_MAX} cards for each engine are allowed: N, or TYPE:N`);
    return { type: type ?? null, count };
  }

  private optionsOf(pair: Pair): string[] {
    const options = this.itemsOf(pair, 'sbatch');
    if (options.length > WORDS_MAX) throw this.wrong(pair, 'sbatch', `at most ${WORDS_MAX} options are allowed`);
    for (const option of options) {
      const name = SBATCH_OPTION.exec(option)?.[1];
      if (name === undefined)
        throw this.wrong(pair, 'sbatch', `${JSON.stringify(option)}: options in one word are allowed, as --account=lab`);
      if (SET_BY_FLEET.includes(name))
        throw this.wrong(pair, 'sbatch', `--${name} is not allowed: the fleet sets it, or can't work with it`);
    }
    return options;
  }

  private missing(key: string, what: string) {
    return this.problem(0, `${key}: ${what} is needed`);
  }
}
