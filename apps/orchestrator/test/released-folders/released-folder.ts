// A data folder as a release left it, kept in testdata/released-folders: one run that has ended, and one that trained when all processes
// were killed. Its model and its text lie where its events name them.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { v1 } from '#protocol';
import { CORPUS, TINY_MODEL } from '../harness/server.js';

const KEPT = fileURLToPath(new URL('../../../../../testdata/released-folders/', import.meta.url));
/** Kernels that every processor has, so that the bits are those of the release wherever the engine is the same. */
export const PORTABLE = { ESPALIER_CPU_ISA: 'portable' };
/** Few parameters and few snapshots, so that the folder is small. */
export const SETTINGS: Partial<v1.RunSettings> = { loraRank: 1, snapshotInterval: 0.1, totalSteps: 300, segmentSteps: 20 };
/** Named in events, so it is the same on all machines. Suites that run side by side put the same files there. */
const INPUTS = '/tmp/espalier-released-folders';

export interface Released {
  version: string;
  ended: { runId: string; events: number; stateDigest: string; hardSparsity: number; teachers: number; exportDigest: string };
  /** The digest of its end is that of the release's own engine, by the fingerprint of its numerics. */
  underWay: { runId: string; events: Pick<v1.HistoryEvent, 'eventId' | 'type' | 'dataJson'>[]; stateDigest: string; fingerprint: string };
}

export const archiveOf = (version: string): string => join(KEPT, `${version}.tar.gz`);
export const outcomeOf = (version: string): string => join(KEPT, `${version}.json`);

/** @returns the model and the data of a launch */
export function inputs(): { modelPath: string; data: { trainPath: string; validationPath: string } } {
  const [modelPath, text] = [join(INPUTS, 'model'), join(INPUTS, 'text.jsonl')];
  if (!existsSync(text)) {
    const own = mkdtempSync(`${INPUTS}-`);
    cpSync(TINY_MODEL, join(own, 'model'), { recursive: true });
    cpSync(CORPUS, join(own, 'text.jsonl'));
    try {
      renameSync(own, INPUTS);
    } catch (error) {
      if (!existsSync(text)) throw error; // another suite was first
    }
  }
  return { modelPath, data: { trainPath: text, validationPath: text } };
}

export function tar(...args: string[]): void {
  const { status, stderr } = spawnSync('tar', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`tar ${args.join(' ')}: ${stderr}`);
}
