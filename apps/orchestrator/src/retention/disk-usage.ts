// Counts the use of the disk: by run, by kind, shared by several runs, and removable.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { allNeeded, type NeededRow } from '../views/projection/needed-artifacts.js';
import { isEvaluating } from '../views/run-status.js';
import type { RunViews } from '../views/run-views.js';
import { roomForArtifacts } from '../storage/free-space.js';

type Config = Pick<OrchestratorConfig, 'dataFolder' | 'artifactFolder' | 'bucket' | 'eventStore'>;

export async function diskUsage(views: RunViews, artifacts: ArtifactStore, config: Config): Promise<v1.GetDiskUsageResponse> {
  await views.ready();
  const sizes = new Map<string, number>();
  for await (const { digest, bytes } of artifacts.list()) sizes.set(digest, bytes);
  const usage = v1.GetDiskUsageResponse.fromPartial({
    runs: byRun(views, sizes),
    ...byKind(allNeeded(views.database), sizes),
    viewsBytes: BigInt(await bytesOfFiles(config.dataFolder, (name) => name.startsWith('views.sqlite'))),
    quarantineBytes: BigInt(await bytesOf(artifacts.quarantine.list())),
    incomingBytes: BigInt(await bytesOf(artifacts.incoming.list())),
    availableBytes: await roomForArtifacts(config),
  });
  if (config.eventStore !== undefined) return usage;
  return { ...usage, eventStoreBytes: BigInt(await bytesOfFiles(join(config.dataFolder, 'event-store'), () => true)) };
}

function byKind(rows: NeededRow[], sizes: ReadonlyMap<string, number>): Partial<v1.GetDiskUsageResponse> {
  const owners = new Map<string, { kind: NeededRow['kind']; runs: number }>();
  for (const { digest, kind } of rows) owners.set(digest, { kind, runs: (owners.get(digest)?.runs ?? 0) + 1 });
  const sums = { state: 0, export: 0, tokens: 0, unneeded: 0, shared: 0, all: 0 };
  for (const [digest, bytes] of sizes) {
    const owner = owners.get(digest);
    sums.all += bytes;
    sums[owner?.kind ?? 'unneeded'] += bytes;
    if (owner !== undefined && owner.runs > 1) sums.shared += bytes;
  }
  return {
    statesBytes: BigInt(sums.state),
    exportsBytes: BigInt(sums.export),
    tokensBytes: BigInt(sums.tokens),
    unneededBytes: BigInt(sums.unneeded),
    sharedBytes: BigInt(sums.shared),
    artifactsBytes: BigInt(sums.all),
  };
}

/** The use by run, the largest first. A run that needs no artifact is left out. */
function byRun(views: RunViews, sizes: ReadonlyMap<string, number>): v1.RunDiskUsage[] {
  const rows = allNeeded(views.database);
  const needed = new Map<string, number>();
  for (const { digest } of rows) needed.set(digest, (needed.get(digest) ?? 0) + 1);
  const runs = new Map<string, { state: number; export: number; tokens: number; shared: number; own: number }>();
  for (const { runId, digest, kind } of rows) {
    const sums = runs.get(runId) ?? { state: 0, export: 0, tokens: 0, shared: 0, own: 0 };
    runs.set(runId, sums);
    const bytes = sizes.get(digest) ?? 0;
    sums[kind] += bytes;
    sums[needed.get(digest)! > 1 ? 'shared' : 'own'] += bytes;
  }
  return [...runs]
    .sort(([, left], [, right]) => right.own - left.own)
    .flatMap(([runId, sums]) => {
      const summary = views.peek(runId);
      if (summary === null) return [];
      const run = views.message(summary);
      return {
        runId,
        name: run.name,
        status: run.status,
        evaluating: isEvaluating(run),
        statesBytes: BigInt(sums.state),
        exportsBytes: BigInt(sums.export),
        tokensBytes: BigInt(sums.tokens),
        sharedBytes: BigInt(sums.shared),
        reclaimableBytes: BigInt(sums.own),
      };
    });
}

async function bytesOf(entries: AsyncIterable<{ bytes: number }> | Iterable<{ bytes: number }>): Promise<number> {
  let sum = 0;
  for await (const { bytes } of entries) sum += bytes;
  return sum;
}

async function bytesOfFiles(folder: string, counts: (name: string) => boolean): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    if (counts(name)) bytes += (await stat(join(folder, name)).catch(() => null))?.size ?? 0;
  }
  return bytes;
}
