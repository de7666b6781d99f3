// Tests one death of all processes. Deaths of each process, at other moments and with other damage are in crashes.long.test.ts.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { expectMasksAsRecorded } from './harness/recorded-masks.js';
import { TestServer } from './harness/server.js';

describe('a run that is disturbed', () => {
  const server = TestServer.inNewFolder();
  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  it('survives the death of all processes at once', async () => {
    const undisturbed = await server.completed((await server.launch({})).runId);
    let seen: v1.HistoryEvent[] = [];
    const { runId, stateDigest } = await server.disturbed({
      launch: () => server.launch({}),
      when: ({ step }) => step >= 20n,
      by: async (runId) => {
        seen = await server.events(runId);
        await server.killAll();
      },
    });
    expect(stateDigest).toBe(undisturbed.stateDigest);
    // The socket of the engine that was killed is gone.
    expect(readdirSync(join(server.dataFolder, 'engine')).filter((name) => name.endsWith('.sock'))).toHaveLength(1);
    expect(recordProblems(await server.events(runId), seen)).toEqual([]);
    await expectMasksAsRecorded(server, runId);
  });

  it('refuses a second orchestrator on the same data folder', async () => {
    const second = new TestServer(server.dataFolder);
    const naming = new RegExp(
      `another orchestrator works with ${server.dataFolder} \\(process ${server.pid}, ` +
        `serving ${server.listenAddress}\\).*DATA_FOLDER_IN_USE`,
    );
    await expect(second.start()).rejects.toThrow(naming);
  });
});
