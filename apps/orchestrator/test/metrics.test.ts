// Tests the page for Prometheus: who may read it, what it tells about a run, and that deploy/ and the docs name figures that exist. A
// receiver of webhooks is told about the run, too.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { v1 } from '#protocol';
import { Receiver, SECRET } from '../src/webhooks/testing.js';
import { TestServer, TINY_RUN, unary } from './harness/server.js';

const ROOT = new URL('../../../../', import.meta.url);
const fileOf = (name: string): string => readFileSync(fileURLToPath(new URL(name, ROOT)), 'utf8');
const server = TestServer.inNewFolder();
server.web = '127.0.0.1:0';
const receiver = new Receiver();
const webhookFolder = mkdtempSync(join(tmpdir(), 'espalier-test-'));
beforeAll(async () => {
  await receiver.start();
  const file = join(webhookFolder, 'webhooks.yaml');
  writeFileSync(join(webhookFolder, 'secret'), SECRET, { mode: 0o600 });
  const hook = { name: 'chat', url: receiver.url, secret_file: 'secret', events: ['run_done', 'run_failed'] };
  writeFileSync(file, JSON.stringify({ webhooks: [hook] }));
  server.options = ['--webhooks', file];
  await server.start();
});
afterAll(async () => {
  await server.dispose();
  await receiver.stop();
  rmSync(webhookFolder, { recursive: true, force: true });
});

const ask = (token: string | null, method = 'GET'): Promise<Response> =>
  fetch(`${server.webAddress}/metrics`, { method, headers: token === null ? {} : { authorization: `Bearer ${token}` } });

interface Families {
  kinds: Map<string, string>;
  samples: Map<string, number>;
}

/**
 * Checks the format of the text: every sample comes after the HELP and TYPE of its family, every value is a number, and no sample occurs
 * twice.
 */
function parsed(text: string): Families {
  const kinds = new Map<string, string>();
  const helped = new Set<string>();
  const samples = new Map<string, number>();
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n').filter((one) => one !== '')) {
    const [, help] = /^# HELP ([a-z_]+) [A-Z].*\.$/.exec(line) ?? [];
    const [, type, kind] = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (help !== undefined) helped.add(help);
    else if (type !== undefined) kinds.set(type, kind!);
    else {
      const [, name, labels = '', value] = /^([a-z_]+)(\{(?:[a-z]+="[^"\\]*",?)+\})? (\S+)$/.exec(line)!;
      const family = kinds.has(name!) ? name! : name!.replace(/_(bucket|sum|count)$/, '');
      expect([line, kinds.has(family), helped.has(family), Number.isFinite(Number(value))]).toEqual([line, true, true, true]);
      expect(samples.has(`${name}${labels}`)).toBe(false);
      samples.set(`${name}${labels}`, Number(value));
    }
  }
  return { kinds, samples };
}

async function figures(): Promise<Families> {
  return parsed(await (await ask(server.token)).text());
}

it('is for callers with a token, of any role', async () => {
  const create = (name: string): Promise<v1.CreateTokenResponse> =>
    unary((done) => server.access.createToken({ name, role: v1.Role.ROLE_VIEWER, days: 1 }, done));
  const { secret } = await create('prometheus');
  expect((await ask(secret)).status).toBe(200);
  expect((await ask(secret)).headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  await unary((done) => server.access.revokeToken({ token: 'prometheus' }, done));
  for (const token of [null, 'wrong', secret]) expect((await ask(token)).status).toBe(401);
  expect((await ask(server.token, 'POST')).status).toBe(405);
  const { samples } = await figures();
  expect(samples.get('espalier_failed_calls_total{code="TOKEN_NEEDED"}')).toBe(1);
  expect(samples.get('espalier_failed_calls_total{code="TOKEN_REVOKED"}')).toBe(1);
});

it('counts the steps and tokens of a run, and tells of runs, engines and the store', async () => {
  const { runId } = await server.launch({});
  await server.completed(runId);
  await receiver.until(() => receiver.received.length >= 1);
  expect(receiver.received[0]!.told).toMatchObject({ event: 'run_done', run: { id: runId }, figures: { step: TINY_RUN.totalSteps } });
  const { kinds, samples } = await figures();
  const { totalSteps = 0, batchSize = 0, sequenceLength = 0 } = TINY_RUN;
  expect(Object.fromEntries(samples)).toMatchObject({
    espalier_recorded_steps_total: totalSteps,
    espalier_recorded_tokens_total: totalSteps * batchSize * sequenceLength,
    'espalier_runs{status="completed"}': 1,
    'espalier_runs{status="failed"}': 0,
    'espalier_run_outcomes_total{outcome="completed"}': 1,
    'espalier_run_outcomes_total{outcome="failed"}': 0,
    espalier_longest_queued_seconds: 0,
    espalier_fleet_job_failures_total: 0,
    'espalier_engines{status="not_responding"}': 0,
    espalier_unrecorded_steps: 0,
    espalier_drives: 1,
    espalier_can_record: 1,
    espalier_store_lacks_events: 0,
    espalier_engine_losses_total: 0,
    'espalier_webhook_deliveries_total{webhook="chat",outcome="delivered"}': 1,
    'espalier_webhook_waiting{webhook="chat"}': 0,
  });
  for (const name of ['espalier_disk_free_bytes{folder="data"}', 'espalier_engine_resident_memory_bytes{engine="local-1"}'])
    expect(samples.get(name)).toBeGreaterThan(0);
  const buckets = [...samples]
    .filter(([name]) => name.startsWith('espalier_store_append_duration_seconds_bucket'))
    .map(([, count]) => count);
  expect(buckets).toEqual(buckets.toSorted((left, right) => left - right));
  expect(buckets.at(-1)).toBe(samples.get('espalier_store_append_duration_seconds_count'));
  expect(buckets.at(-1)).toBeGreaterThan(0);
  for (const [name, kind] of kinds) expect([name, kind === 'counter']).toEqual([name, name.endsWith('_total')]);
});

it('has what alert rules, the dashboard for Grafana and the docs name', async () => {
  const { kinds } = await figures();
  const onlyWithTls = 'espalier_certificate_expiry_timestamp_seconds';
  const known = new Set([...kinds.keys(), onlyWithTls]);
  for (const file of ['deploy/monitoring/alerts.yaml', 'deploy/monitoring/grafana-dashboard.json', 'docs/monitoring.md']) {
    const named = fileOf(file)
      .match(/\b(?:espalier|process)_[a-z_]+\b/g)!
      .map((name) => name.replace(/_bucket$/, ''));
    expect([file, named.filter((name) => !known.has(name))]).toEqual([file, []]);
  }
  const docs = fileOf('docs/monitoring.md');
  expect([...known].filter((name) => !docs.includes(`\`${name}`))).toEqual([]);
});
