// Reads the file of a fleet that a user writes. It is YAML, and errors name the line and the key.
import { dirname, resolve } from 'node:path';
import { isScalar, isSeq, parse, type Pair } from 'yaml';
import { addressProblem, isLoopbackAddress } from '#local-access';
import { textOfOptionFile, YamlReader } from '#run-files';
import {
  FLEET_KINDS,
  type FleetKind,
  type FleetSettings,
  type JobKind,
  type KubernetesSettings,
  type PodTemplate,
  type SlurmSettings,
} from './fleet-settings.js';

const FIELD = '--fleet';
export const ENGINES_MAX = 64;
const CPUS_MAX = 1_024;
/** A year, in minutes. */
const TIME_LIMIT_MAX = 60 * 24 * 365;
const WORDS_MAX = 32;
const USUAL = { idleSeconds: 300, pollSeconds: 15, warningSeconds: 60, graceSeconds: 60, keepLogsDays: 30 };
const NAME = /^[a-z][a-z0-9-]{0,19}$/;
const NAME_RULE = 'at most 20 small letters, digits and hyphens are allowed, a letter first';
const PARTITION = /^[A-Za-z0-9][\w.-]{0,63}$/;
const CARDS = /^(?:([A-Za-z0-9][\w./-]{0,127}):)?([1-9]\d?)$/;
const SECRET = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** The fields of a pod and of its container that the fleet sets, so that a template must not. */
const OF_POD_BY_FLEET = ['restartPolicy', 'terminationGracePeriodSeconds', 'activeDeadlineSeconds'];
const OF_CONTAINER_BY_FLEET = ['image', 'command', 'args'];
const CARDS_MAX = 16;
/** An option of sbatch. Option and value are one word, so that no word is taken for the name of a script. */
const SBATCH_OPTION = /^--([a-z][a-z0-9-]*)(=[^\0\n\r]*)?$/;
/**
 * The options that a file must not have: those that the fleet sets or finds its jobs by, and those for kinds of jobs in which an engine
 * can't run.
 */
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
const JOB_KEYS = ['cpus', 'idle_seconds', 'command'];
const CLUSTER_JOB_KEYS = ['gpus', 'memory_gb', 'time_limit_minutes'];
/** The keys that a kind of job may have. At the top of the file they hold for each kind that has none of its own. */
const JOB_KEYS_OF: Record<FleetKind, readonly string[]> = {
  slurm: [...JOB_KEYS, ...CLUSTER_JOB_KEYS, 'partitions', 'warning_seconds', 'sbatch'],
  kubernetes: [...JOB_KEYS, ...CLUSTER_JOB_KEYS, 'image', 'grace_seconds', 'pod_template'],
  local: JOB_KEYS,
};
const COMMON_KEYS = ['kind', 'name', 'max_engines', 'poll_seconds', 'join', 'tls_ca', 'token_file', 'logs', 'keep_logs_days', 'jobs'];
/** The keys that only the top of the file may have. */
const KEYS_OF: Record<FleetKind, readonly string[]> = {
  slurm: [...COMMON_KEYS, 'accounts'],
  kubernetes: [...COMMON_KEYS, 'namespace', 'context', 'kubeconfig', 'secret'],
  local: COMMON_KEYS,
};
const KINDS_MAX = 16;
const ACCOUNTS_MAX = 1_000;
const ACCOUNT = /^[A-Za-z0-9_][\w.@+-]{0,63}$/;
/** Reads the values of a file by their keys. Each function also takes or has the value for a key that is left out. */
interface Given {
  read: <T>(key: string, read: (pair: Pair) => T, otherwise: T) => T;
  number: (key: string, least: number, most: number, otherwise: number) => number;
  /** Reads a number from 1 on, or returns null where the key is left out. */
  numberOrNull: (key: string, most: number) => number | null;
  path: (key: string) => string | null;
}

/** @param isTls whether the server uses TLS, so that its engines need the name in its certificate. @throws EspalierError CONFIG_INVALID */
export function readFleetFile(path: string | undefined, isTls = false): FleetSettings | null {
  if (path === undefined) return null;
  return new FleetReader(path, textOfOptionFile(path, 'the file of the fleet', FIELD), FIELD).read(dirname(path), isTls);
}

class FleetReader extends YamlReader {
  /** @param folder the folder that relative paths start from */
  read(folder: string, isTls: boolean): FleetSettings {
    const pairs = new Map(this.entries(this.document.contents, 'the file'));
    const kind = this.kindOf(pairs.get('kind'));
    const allowed = [...KEYS_OF[kind], ...JOB_KEYS_OF[kind]];
    for (const [key, pair] of pairs) if (!allowed.includes(key)) throw this.unknown(key, pair, allowed);
    const given = this.givenBy(pairs, folder);
    const join = given.read<string | null>('join', (pair) => this.joinOf(pair), null);
    if (kind !== 'local' && join === null) throw this.missing('join', 'the address of the server, as the nodes of the cluster reach it');
    if (join === null && isTls) throw this.missing('join', 'https://NAME:PORT, with a name in the certificate of the server,');
    const tlsCa = given.path('tls_ca');
    if (tlsCa !== null && join?.startsWith('https://') !== true)
      throw this.wrong(pairs.get('tls_ca')!, 'tls_ca', 'goes with a join of https://');
    return {
      kind,
      name: given.read('name', (pair) => this.nameOf(pair), kind),
      maxEngines: this.neededNumber(pairs, 'max_engines', ENGINES_MAX),
      pollSeconds: given.number('poll_seconds', 1, 600, USUAL.pollSeconds),
      join,
      tlsCa,
      tokenFile: given.path('token_file'),
      logs: given.path('logs'),
      keepLogsDays: given.number('keep_logs_days', 1, 3_650, USUAL.keepLogsDays),
      accounts: given.read<Record<string, string>>('accounts', (pair) => this.accountsOf(pair), {}),
      jobs: this.jobsOf(pairs, kind, folder),
    };
  }

  private givenBy(pairs: ReadonlyMap<string, Pair>, folder: string): Given {
    const given: Given = {
      read: (key, read, otherwise) => {
        const pair = pairs.get(key);
        return pair === undefined ? otherwise : read(pair);
      },
      number: (key, least, most, otherwise) => given.read(key, (pair) => this.numberOf(pair, key, least, most), otherwise),
      numberOrNull: (key, most) => given.read<number | null>(key, (pair) => this.numberOf(pair, key, 1, most), null),
      path: (key) => given.read<string | null>(key, (pair) => resolve(folder, this.textOf(pair, key, 'a path')), null),
    };
    return given;
  }

  private jobsOf(pairs: ReadonlyMap<string, Pair>, kind: FleetKind, folder: string): FleetSettings['jobs'] {
    const pair = pairs.get('jobs');
    if (pair === undefined) return [this.jobOf('', pairs, kind, folder)];
    const [first, ...others] = Array.from(this.entries(pair.value, 'jobs'), ([name, one]) => {
      if (!NAME.test(name)) throw this.wrong(one, 'jobs', `${JSON.stringify(name)}: ${NAME_RULE}`);
      const { value } = one;
      const own = value === null || isEmptyScalar(value) ? new Map<string, Pair>() : this.pairsOf(value, `jobs.${name}`, JOB_KEYS_OF[kind]);
      return this.jobOf(name, new Map([...pairs, ...own]), kind, folder);
    });
    if (first === undefined || others.length >= KINDS_MAX)
      throw this.wrong(pair, 'jobs', `1 to ${KINDS_MAX} kinds of job are needed, each a line "name: {key: value}"`);
    return [first, ...others];
  }

  private jobOf(name: string, pairs: ReadonlyMap<string, Pair>, kind: FleetKind, folder: string): JobKind {
    const given = this.givenBy(pairs, folder);
    return {
      name,
      cpus: this.neededNumber(pairs, 'cpus', CPUS_MAX, name),
      cards: given.read<JobKind['cards']>('gpus', (pair) => this.cardsOf(pair), null),
      memoryGb: given.numberOrNull('memory_gb', 65_536),
      idleSeconds: given.number('idle_seconds', 1, 86_400, USUAL.idleSeconds),
      command: given.read<string[] | null>('command', (pair) => this.commandOf(pair), null),
      slurm: kind === 'slurm' ? this.slurmOf(pairs, given) : null,
      kubernetes: kind === 'kubernetes' ? this.kubernetesOf(pairs, given) : null,
    };
  }

  private accountsOf(pair: Pair): Record<string, string> {
    const accounts = Array.from(this.entries(pair.value, 'accounts'), ([caller, own]) => {
      const account = this.textOf(own, `accounts: ${caller}`, 'the name of an account');
      if (!ACCOUNT.test(account)) throw this.wrong(own, `accounts: ${caller}`, 'a name of letters, digits and . _ - @ + is needed');
      return [caller, account] as const;
    });
    if (accounts.length > ACCOUNTS_MAX) throw this.wrong(pair, 'accounts', `at most ${ACCOUNTS_MAX} callers are allowed`);
    return Object.fromEntries(accounts);
  }

  private slurmOf(pairs: ReadonlyMap<string, Pair>, given: Given): SlurmSettings {
    const timeLimitMinutes = given.numberOrNull('time_limit_minutes', TIME_LIMIT_MAX);
    const warningSeconds = given.number('warning_seconds', 1, 3_600, USUAL.warningSeconds);
    if (timeLimitMinutes !== null && warningSeconds >= timeLimitMinutes * 60) {
      const key = pairs.has('warning_seconds') ? 'warning_seconds' : 'time_limit_minutes';
      const why = `the warning comes ${warningSeconds} s before a limit of ${timeLimitMinutes} min: it must leave time to work`;
      throw this.wrong(pairs.get(key)!, key, why);
    }
    return {
      partitions: given.read('partitions', (pair) => this.partitionsOf(pair), [] as string[]),
      timeLimitMinutes,
      warningSeconds,
      options: given.read('sbatch', (pair) => this.optionsOf(pair), [] as string[]),
    };
  }

  private kubernetesOf(pairs: ReadonlyMap<string, Pair>, given: Given): KubernetesSettings {
    const text = (key: string, what: string): string | null => given.read<string | null>(key, (pair) => this.textOf(pair, key, what), null);
    const image = text('image', 'the name of an image');
    if (image === null) throw this.missing('image', 'the name of an image that has this version of Espalier');
    const namespace = text('namespace', 'a name');
    if (namespace !== null && !NAMESPACE.test(namespace))
      throw this.wrong(pairs.get('namespace')!, 'namespace', 'at most 63 small letters, digits and hyphens are allowed');
    const secret = text('secret', 'a name');
    if (secret !== null && !SECRET.test(secret))
      throw this.wrong(pairs.get('secret')!, 'secret', 'the name of a Secret is allowed: small letters, digits, hyphens and dots');
    const template = given.path('pod_template');
    return {
      kubeconfig: given.path('kubeconfig'),
      context: text('context', 'a name'),
      namespace,
      image,
      secret,
      timeLimitMinutes: given.numberOrNull('time_limit_minutes', TIME_LIMIT_MAX),
      graceSeconds: given.number('grace_seconds', 1, 3_600, USUAL.graceSeconds),
      podTemplate: template === null ? {} : this.podTemplateOf(template, pairs.get('pod_template')!),
    };
  }

  /**
   * Reads the template of a pod. It checks only the fields that the fleet sets; the cluster checks all others. Numbers are read as kubectl
   * reads them: 0440 is octal.
   */
  private podTemplateOf(path: string, pair: Pair): PodTemplate {
    const wrong = (what: string) => this.wrong(pair, 'pod_template', `${path}: ${what}`);
    let template: PodTemplate | null;
    try {
      template = parse(textOfOptionFile(path, 'the template of a pod', FIELD), { version: '1.1' }) as PodTemplate | null;
    } catch (error) {
      if (error instanceof Error && error.name === 'YAMLParseError') throw wrong(error.message.split('\n', 1).join(''));
      throw error;
    }
    if (!isRecord(template)) throw wrong('the file holds no metadata and spec of a pod: lines of "key: value" are needed');
    const other = Object.keys(template).find((key) => !['metadata', 'spec', 'apiVersion', 'kind'].includes(key));
    if (other !== undefined) throw wrong(`metadata and spec of a pod are allowed, not ${other}`);
    const { spec = {}, metadata = {} } = template;
    if (!isRecord(spec) || !isRecord(metadata)) throw wrong('metadata and spec are mappings');
    const containers: unknown = spec.containers ?? [];
    if (!Array.isArray(containers) || containers.length > 1 || !containers.every(isRecord))
      throw wrong('spec.containers may hold one, that of the engine: a job ends with its engine, and others would go on');
    const [container = {}] = containers;
    if ((container['name'] ?? 'engine') !== 'engine') throw wrong('the name of the container is engine');
    const set = [...OF_POD_BY_FLEET.filter((key) => key in spec), ...OF_CONTAINER_BY_FLEET.filter((key) => key in container)];
    if (set.length > 0) throw wrong(`${set[0]} is not allowed: the fleet sets it`);
    return { metadata, spec };
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
    throw this.wrong(pair, 'name', NAME_RULE);
  }

  /** @param job the name of the kind of job that needs the number, or '' */
  private neededNumber(pairs: ReadonlyMap<string, Pair>, key: string, most: number, job = ''): number {
    const pair = pairs.get(key);
    if (pair === undefined) throw this.missing(key, `a whole number from 1 to ${most}${job === '' ? '' : ` for jobs: ${job}`}`);
    return this.numberOf(pair, key, 1, most);
  }

  /**
   * Reads the server's address by the same rule as `espalier engine --join`: without TLS, only an address on this machine is allowed,
   * unless it begins with http://.
   */
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

  private cardsOf(pair: Pair): JobKind['cards'] {
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

/** Tells whether a kind of job has no keys of its own. */
const isEmptyScalar = (value: unknown): boolean => isScalar(value) && value.value === null;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
