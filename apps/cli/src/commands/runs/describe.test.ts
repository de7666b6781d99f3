// Tests tag, note, rename and --tag against a server of the public protocol.
import { v1 } from '#protocol';
import { runCli } from '../../testing/run-cli.js';
import { testRun, TestServer } from '../../testing/test-server.js';

let server: TestServer;
const asked: { describe: v1.DescribeRunRequest[]; launch: v1.LaunchRunRequest[]; list: v1.ListRunsRequest[] } = {
  describe: [],
  launch: [],
  list: [],
};
beforeAll(async () => {
  const run = testRun({ tags: ['a', 'b'], note: 'as published', name: 'baseline' });
  server = await TestServer.start({
    describeRun: (request) => {
      asked.describe.push(request);
      return { run };
    },
    launchRun: (request) => {
      asked.launch.push(request);
      return v1.LaunchRunResponse.fromPartial({ run });
    },
    listRuns: (request) => {
      asked.list.push(request);
      return { runs: [run], nextPageToken: '', total: 1 };
    },
  });
});
afterAll(() => server.stop());
const espalier = (...args: string[]) => runCli(args, { env: { ESPALIER_SERVER: server.address } });

test('tag puts on and takes off, wherever the options stand', async () => {
  const { stdout } = await espalier('tag', 'abcd', '+a', '-hot', '+b', '-x');
  expect(stdout).toMatch(/tags: a, b$/m);
  expect(asked.describe.at(-1)).toMatchObject({
    runId: 'abcd',
    addTags: ['a', 'b'],
    removeTags: ['hot', 'x'],
    name: undefined,
    note: undefined,
  });
  const refused = await espalier('tag', 'abcd', 'plain');
  expect(refused.exitCode).toBe(2);
  expect(refused.stderr).toContain('+TAG and -TAG are allowed');
});

test('note and rename change only what they say', async () => {
  expect((await espalier('note', 'abcd', 'as published')).stdout).toContain('note: as published');
  expect(asked.describe.at(-1)).toMatchObject({ note: 'as published', name: undefined, addTags: [] });
  expect((await espalier('rename', 'abcd', '')).exitCode).toBe(0);
  expect(asked.describe.at(-1)).toMatchObject({ note: undefined, name: '' });
});

test('launch and runs take several tags', async () => {
  await espalier('launch', '--model', '/m', '--data', '/d', '--tag', 'a', '--tag', 'b', '--note', 'try', '--json');
  expect(asked.launch.at(-1)).toMatchObject({ tags: ['a', 'b'], note: 'try' });
  await espalier('runs', '--tag', 'a', '--tag', 'b');
  expect(asked.list.at(-1)).toMatchObject({ tags: ['a', 'b'] });
});
