// A server with one completed run, for tests of what can be made of a run and proven about it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import type { v1 } from '#protocol';
import { TestServer, type LaunchParts } from './server.js';

export interface CompletedRun {
  server: TestServer;
  run: v1.Run;
  artifacts: ArtifactStore;
  /** An empty folder for the test's own files. */
  folder: string;
}

/** Starts the server before the tests of a file, and ends it after them. Only `server` is there before the first test. */
export function completedRun(settings: Partial<v1.RunSettings> = {}, request: LaunchParts = {}): CompletedRun {
  const server = TestServer.inNewFolder();
  const all = { server } as CompletedRun;
  beforeAll(async () => {
    all.folder = await mkdtemp(join(tmpdir(), 'completed-run-'));
    await server.start();
    all.run = await server.completed((await server.launch(settings, request)).runId);
    all.artifacts = await openArtifactStore({ folder: join(server.dataFolder, 'artifacts') });
  });
  afterAll(async () => {
    await server.dispose();
    await rm(all.folder, { recursive: true, force: true });
  });
  return all;
}
