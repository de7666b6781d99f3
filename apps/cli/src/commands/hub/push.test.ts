// Tests the command push with a server that has an export, and one that speaks the hub's protocol.
import { v1 } from '#protocol';
import { TestHub } from '../../../../../libs/hub/src/testing/test-hub.js';
import { runCli, type CliResult } from '../../testing/run-cli.js';
import { testExport, testRun, TestServer } from '../../testing/test-server.js';

let hub: TestHub;
let server: TestServer;
const { answers, contents, digest } = testExport();
const STATE = 'ef'.repeat(32);
const COMMIT = '0123456789'.repeat(4);
beforeAll(async () => {
  hub = await TestHub.start();
  const evaluation = (subject: string, stateDigest: string, value: number): v1.Evaluation =>
    v1.Evaluation.fromPartial({
      subject,
      stateDigest,
      value,
      task: 'text',
      metric: 'perplexity',
      n: 100n,
      convention: 'windows of 64 tokens',
    });
  const run = {
    modelPath: `/home/ann/hub/models--org--base/snapshots/${COMMIT}`,
    weightsDigest: '12'.repeat(32),
    note: 'a secret plan',
    parentRunId: 'parent23',
    forkedAtStep: 20n,
    evaluations: [evaluation('intact', '', 5), evaluation('masked', STATE, 6.25), evaluation('masked', 'aa'.repeat(32), 99)],
    data: v1.DataSource.fromPartial({ trainPath: '/home/ann/private/corpus.jsonl' }),
  };
  server = await TestServer.start({
    ...answers,
    async *exportRun(request, signal) {
      for await (const message of answers.exportRun(request, signal))
        yield { ...message, export: message.export && { ...message.export, stateDigest: STATE, format: 'hf-remote' } };
    },
    getRun: () => v1.GetRunResponse.fromPartial({ run: testRun(run) }),
  });
});
afterAll(async () => {
  server.stop();
  await hub.stop();
});
const push = (args: string[], env: Record<string, string> = {}): Promise<CliResult> =>
  runCli(['push', 'k3f9', ...args], {
    env: {
      ESPALIER_SERVER: server.address,
      HF_ENDPOINT: hub.address,
      HF_HOME: '/nowhere',
      HF_HUB_OFFLINE: '',
      HF_TOKEN: 'own-token',
      ...env,
    },
  });

test('an export is published with a card that says its figures, recipe, lineage and digests, and no path of this machine', async () => {
  hub.behaviour = { token: 'own-token' };
  const { stdout, stderr, exitCode } = await push(['ann/half']);
  expect([exitCode, stderr]).toEqual([0, '']);
  expect(stdout).toContain(`${hub.address}/ann/half at commit`);
  const files = hub.filesOf('models/ann/half');
  for (const [name, bytes] of contents) expect(files.get(name)?.equals(bytes)).toBe(true);
  const card = files.get('README.md')!.toString('utf8');
  expect(card).toMatch(/^---\nbase_model: org\/base\nlibrary_name: transformers\n/);
  expect(card).toContain(`org/base at commit ${COMMIT}, pruned by Espalier from 3,400,000 to 1,700,000 parameters`);
  expect(card).toMatch(/\| intact \| perplexity \| 5[.0]* \| 100 \| windows of 64 tokens \|\n\| masked \| perplexity \| 6\.25/);
  expect(card).toContain('warmup_steps: 30');
  expect(card).toContain('forked from run parent23 at step 20');
  expect(card).toContain(`- export: \`${digest}\``);
  expect(card).toMatch(/\| model\.safetensors \| `[0-9a-f]{64}` \|/);
  for (const hidden of ['/home/ann', '99.0', 'secret']) expect(card).not.toContain(hidden);
  expect((await push(['ann/half'])).exitCode).toBe(0); // into a repository that exists
});

test('a wrong name, a missing token and a wrong token are refused', async () => {
  expect((await push(['half'])).stderr).toContain('"half" is no name of a model on the hub; org/name is allowed');
  const without = await push(['ann/half'], { HF_TOKEN: '' });
  expect([without.exitCode, without.stderr]).toEqual([4, expect.stringContaining('HUB_ACCESS_DENIED') as string]);
  const wrong = await push(['ann/half'], { HF_TOKEN: 'another' });
  expect([wrong.exitCode, wrong.stderr]).toEqual([4, expect.stringContaining('does not accept the token of HF_TOKEN') as string]);
});
