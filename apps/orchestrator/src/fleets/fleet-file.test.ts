import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { engineCommand } from './engine-command.js';
import { readFleetFile } from './fleet-file.js';

const folder = mkdtempSync(join(tmpdir(), 'fleets-'));
const DEPLOY = fileURLToPath(new URL('../../../../../deploy/', import.meta.url));
const EXAMPLES = [...readdirSync(join(DEPLOY, 'fleets')).map((name) => `fleets/${name}`), 'kubernetes/fleet.yaml'];
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function read(text: string) {
  const file = join(folder, 'fleet.yaml');
  writeFileSync(file, text);
  return readFleetFile(file);
}
const SLURM = { kind: 'slurm', max_engines: '4', cpus: '8', join: 'https://lab.example.org:7433' };
const lines = (change: Record<string, string | null>, base: Record<string, string> = SLURM): string =>
  Object.entries({ ...base, ...change })
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('');

it('a file says what jobs ask for, and how engines reach the server', () => {
  const text = lines({
    partitions: '[gpu, low]',
    gpus: 'a100:4',
    memory_gb: '64',
    time_limit_minutes: '60',
    tls_ca: 'tls/a.pem',
    sbatch: '[--qos=low]',
  });
  expect(read(text)).toEqual({
    ...{
      kind: 'slurm',
      keepLogsDays: 30,
      name: 'slurm',
      maxEngines: 4,
      pollSeconds: 15,
      tokenFile: null,
      logs: null,
    },
    join: 'https://lab.example.org:7433',
    tlsCa: join(folder, 'tls/a.pem'),
    accounts: {},
    jobs: [
      {
        ...{ name: '', cpus: 8, cards: { type: 'a100', count: 4 }, memoryGb: 64, idleSeconds: 300, command: null, kubernetes: null },
        slurm: { partitions: ['gpu', 'low'], timeLimitMinutes: 60, warningSeconds: 60, options: ['--qos=low'] },
      },
    ],
  });
});

it.each([
  ['none', '', ['cpu', '8']],
  ['one', 'gpus: 1\n', ['cuda:0', '8']],
  ['three of a type', 'gpus: a100:3\n', ['cuda:0+cuda:1+cuda:2', '2']],
])('an engine computes on the cards of its job, and has the processors of each: %s', (_, gpus, [device, threads]) => {
  const words = engineCommand(read(lines({}) + gpus)!.jobs[0], { join: 'x', tokenFile: 'y', tlsCa: null }, 'slurm-1');
  const valueOf = (option: string): string => words[words.indexOf(option) + 1]!;
  expect([valueOf('--device'), valueOf('--threads')]).toEqual([device, threads]);
});

it('a fleet of this machine needs its number and its threads', () => {
  expect(read('kind: local\nmax_engines: 2\ncpus: 1\n')).toMatchObject({
    ...{ kind: 'local', name: 'local', join: null },
    jobs: [{ name: '', slurm: null, kubernetes: null }],
  });
});

it('a fleet of this machine needs an address where the server speaks TLS', () => {
  const file = join(folder, 'local.yaml');
  writeFileSync(file, 'kind: local\nmax_engines: 2\ncpus: 1\n');
  expect(() => readFleetFile(file, true)).toThrow(/join: https:\/\/NAME:PORT, with a name in the certificate of the server, is needed/);
});

it('a server without the option has no fleet', () => {
  expect(readFleetFile(undefined)).toBeNull();
});

it.each(EXAMPLES)('the example %s is one that a server takes', (name) => {
  expect(readFleetFile(join(DEPLOY, name))!.maxEngines).toBeGreaterThan(0);
});

it.each<[Record<string, string | null>, RegExp]>([
  [{ kind: null }, /kind: slurm or kubernetes or local is needed/],
  [{ kind: 'pbs' }, /^fleet\.yaml:1: kind: "pbs": allowed are slurm, kubernetes, local/],
  [{ max_engines: null }, /max_engines: a whole number from 1 to 64 is needed/],
  [{ max_engines: '65' }, /^fleet\.yaml:2: max_engines: a whole number from 1 to 64/],
  [{ cpus: 'many' }, /^fleet\.yaml:3: cpus: a whole number from 1 to 1024/],
  [{ join: null }, /join: the address of the server.* is needed/],
  [{ join: 'lab.example.org:7433' }, /^fleet\.yaml:4: join: https:\/\/HOST:PORT is allowed.*with TLS/],
  [{ join: 'ftp://lab:1' }, /^fleet\.yaml:4: join: https/],
  [{ join: '127.0.0.1:7433', tls_ca: 'a.pem' }, /^fleet\.yaml:5: tls_ca: goes with a join of https/],
  [{ name: 'My Fleet' }, /^fleet\.yaml:5: name: at most 20 small letters/],
  [{ command: 'espalier engine' }, /^fleet\.yaml:5: command: a list of words/],
  [{ partitions: '[a;b]' }, /^fleet\.yaml:5: partitions: names of letters.*not "a;b"/],
  [{ gpus: '0' }, /^fleet\.yaml:5: gpus: 1 to 16 cards for each engine are allowed: N, or TYPE:N/],
  [{ gpus: 'a100:17' }, /^fleet\.yaml:5: gpus: 1 to 16 cards/],
  [{ sbatch: '--qos=low' }, /^fleet\.yaml:5: sbatch: a list is needed/],
  [{ sbatch: '[-p gpu]' }, /^fleet\.yaml:5: sbatch: "-p gpu": options in one word are allowed, as --account=lab/],
  [{ sbatch: '[script.sh]' }, /^fleet\.yaml:5: sbatch: "script\.sh"/],
  [{ sbatch: '[--array=1-9]' }, /^fleet\.yaml:5: sbatch: --array is not allowed/],
  [{ sbatch: '[--comment=x]' }, /^fleet\.yaml:5: sbatch: --comment is not allowed: the fleet sets it/],
  [{ time_limit_minutes: '1' }, /^fleet\.yaml:5: time_limit_minutes: the warning comes 60 s before a limit of 1 min/],
  [{ idle_seconds: '0' }, /^fleet\.yaml:5: idle_seconds: a whole number from 1 to 86400/],
  [{ idle: '0' }, /^fleet\.yaml:5: there is no "idle"; allowed are kind, name, max_engines/],
])('%j is refused', (change, message) => {
  expect(() => read(lines(change))).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) as string }) as Error,
  );
});

describe('kinds of job', () => {
  const TOP = lines({ memory_gb: '64', sbatch: '[--qos=low]' });
  const KINDS = `${TOP}jobs:\n  gpu: {gpus: 1, partitions: gpu}\n  big: {cpus: 32, memory_gb: 512}\n  plain:\n`;

  it('have the values at the top of the file, and their own in place of them', () => {
    const { jobs } = read(KINDS)!;
    expect(jobs.map(({ name, cpus, memoryGb, cards, slurm }) => [name, cpus, memoryGb, cards?.count, slurm!.partitions])).toEqual([
      ['gpu', 8, 64, 1, ['gpu']],
      ['big', 32, 512, undefined, []],
      ['plain', 8, 64, undefined, []],
    ]);
    expect(jobs.map(({ slurm }) => slurm!.options)).toEqual([['--qos=low'], ['--qos=low'], ['--qos=low']]);
  });

  it.each([
    ['jobs: {}', /^fleet\.yaml:5: jobs: 1 to 16 kinds of job are needed/],
    ['jobs: gpu', /^fleet\.yaml:5: jobs must be a mapping/],
    ['jobs: {Gpu: {cpus: 1}}', /^fleet\.yaml:5: jobs: "Gpu": at most 20 small letters/],
    ['jobs: {gpu: {max_engines: 1}}', /^fleet\.yaml:5: there is no "max_engines"; allowed are cpus/],
    ['jobs: {gpu: {gpus: 17}}', /^fleet\.yaml:5: gpus: 1 to 16 cards/],
    ['accounts: {"token:ann": "a b"}', /^fleet\.yaml:5: accounts: token:ann: a name of letters/],
    ['accounts: [ann]', /^fleet\.yaml:5: accounts must be a mapping/],
  ])('%s is refused', (line, message) => {
    expect(() => read(`${lines({})}${line}\n`)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) as string }) as Error,
    );
  });

  it('each needs its processors, by the top of the file or by its own', () => {
    expect(() => read(`${lines({ cpus: null })}jobs: {one: {cpus: 1}, two: {}}\n`)).toThrow(/cpus: .* for jobs: two is needed/);
  });
});

it('callers have accounts of the cluster', () => {
  expect(read(`${lines({})}accounts: {"token:ann": ann_lab, "login:https://id.lab:bob": lab}\n`)!.accounts).toEqual({
    'token:ann': 'ann_lab',
    'login:https://id.lab:bob': 'lab',
  });
});

it('what Slurm alone has is refused in a fleet of this machine', () => {
  expect(() => read('kind: local\nmax_engines: 2\ncpus: 1\ngpus: 1\n')).toThrow(
    /^fleet\.yaml:4: there is no "gpus"; allowed are kind, name/,
  );
});

describe('a fleet of Kubernetes', () => {
  const KUBERNETES = { kind: 'kubernetes', max_engines: '4', cpus: '8', join: 'https://lab.example.org:7433', image: 'espalier:1' };
  const withTemplate = (text: string) => {
    writeFileSync(join(folder, 'pod.yaml'), text);
    return read(lines({ pod_template: 'pod.yaml' }, KUBERNETES));
  };

  it('has an image, and the usual values for the rest', () => {
    expect(read(lines({ gpus: '2', namespace: 'lab' }, KUBERNETES))).toMatchObject({
      name: 'kubernetes',
      jobs: [
        {
          cards: { type: null, count: 2 },
          slurm: null,
          kubernetes: {
            ...{ image: 'espalier:1', namespace: 'lab', context: null, kubeconfig: null, secret: null, timeLimitMinutes: null },
            ...{ graceSeconds: 60, podTemplate: {} },
          },
        },
      ],
    });
  });

  it('an engine is a program of the image, and finds its token where the pod has it', () => {
    const words = engineCommand(
      read(lines({}, KUBERNETES))!.jobs[0],
      { join: 'x', tokenFile: '/etc/espalier/token', tlsCa: null },
      'kubernetes-1',
    );
    expect(words.slice(0, 6)).toEqual(['espalier', 'engine', '--join', 'x', '--token-file', '/etc/espalier/token']);
  });

  it('takes a template of its pods', () => {
    const spec = { nodeSelector: { card: 'a100' }, containers: [{ name: 'engine', env: [] }] };
    expect(withTemplate(`spec: ${JSON.stringify(spec)}`)!.jobs[0].kubernetes!.podTemplate).toEqual({ metadata: {}, spec });
    const octal = withTemplate('spec: {volumes: [{name: a, secret: {defaultMode: 0440}}]}')!.jobs[0].kubernetes!.podTemplate.spec!.volumes;
    expect(octal).toEqual([{ name: 'a', secret: { defaultMode: 0o440 } }]);
  });

  it.each([
    ['image', { image: null }, /image: the name of an image .* is needed/],
    ['namespace', { namespace: 'Lab' }, /namespace: at most 63 small letters/],
    ['partitions', { partitions: 'gpu' }, /there is no "partitions"/],
    ['pod_template', { pod_template: 'none.yaml' }, /none\.yaml/],
  ])('%s is refused', (_, change: Record<string, string | null>, message) => {
    expect(() => read(lines(change, KUBERNETES))).toThrow(message);
  });

  it.each([
    ['[]', /the file holds no metadata and spec of a pod/],
    ['', /the file holds no metadata and spec of a pod/],
    ['PK3 zip', /the file holds no metadata and spec of a pod/],
    ['status: {}', /metadata and spec of a pod are allowed, not status/],
    ['spec: [', /pod\.yaml: .*/],
    ['spec: {restartPolicy: Always}', /restartPolicy is not allowed: the fleet sets it/],
    ['spec: {containers: [{name: engine, image: x}]}', /image is not allowed: the fleet sets it/],
    ['spec: {containers: [{name: logs}]}', /the name of the container is engine/],
    ['spec: {containers: [{}, {name: logs}]}', /may hold one, that of the engine/],
  ])('a template %s is refused', (text, message) => {
    expect(() => withTemplate(text)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) as string }) as Error,
    );
  });
});
