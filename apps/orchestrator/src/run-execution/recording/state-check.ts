// Compares the report of an engine that a user started with the state that it sent. The masks, the sparsity, the open parts and the size of
// a state follow from its gates, so an engine of this installation computes them again. Losses do not: they rest on the engine that reports
// them.
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { gatesDigest } from '#audit';
import type { ArtifactStore } from '#artifact-store';
import { engineV1, EspalierError } from '#protocol';
import type { EnginePool } from '../../engine-pool/engine-pool.js';
import { newExportFolder } from '../../measurements/artifact-files.js';
import type { ModelIdentity, StateFact } from '../../pruning-run/record/pruning-run.events.js';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import { required } from '../../engines/wire/received-answers.js';
import { stateFact } from './segment-report.js';
import type { TrainedSegment } from './segment-recorder.js';

/** Two machines may round the last bits of a sparsity otherwise. */
const SPARSITY_ROUNDING = 1e-9;
/** The parts of a state's file of which the gates and the shape target consist. */
const GATE_TENSORS = /^(?:mask\.\w+|step|shape|exact_size|cost|lora\.\w+|lambda(?:\.\w+)?)$/;
const HEADER_BYTES_MAX = 64 << 20;
/** A header is rarely longer, so one request reads it. */
const HEADER_BYTES_USUAL = 64 << 10;
const GAP_BYTES_MAX = 64 << 10;

export type StatesToRead = Pick<ArtifactStore, 'range' | 'stat' | 'fileOf'>;

export class StateCheck {
  constructor(
    private readonly pool: Pick<EnginePool, 'question'>,
    private readonly artifacts: StatesToRead,
  ) {}

  /** @param segment whose state is stored @throws EspalierError RESULT_CONTRADICTS_STATE */
  async require(run: PruningRunState, { report, masks }: TrainedSegment): Promise<void> {
    const { state, openDigest } = report;
    const own = await this.describe(run.model, state.stateDigest);
    const computed = stateFact(run.model, { state: own, stateBytes: BigInt(state.stateBytes) }, state.step);
    for (const [name, value] of Object.entries(computed))
      if (name !== 'stateDigest' && !isSame(state[name as keyof StateFact], value)) throw contradiction(state, name, value);
    if (openDigest !== gatesDigest(own.openUnits)) throw contradiction(state, 'openUnits', 'other gates');
    if (run.openDigest !== null && run.current?.step === report.firstStep && masks.closedBefore !== undefined)
      throw contradiction(state, 'openUnitsBefore', 'those of the state before');
  }

  private async describe(model: ModelIdentity, digest: string): Promise<engineV1.StateSummary> {
    const ask = async (stateFile: string): Promise<engineV1.StateSummary> => {
      const described = await this.pool.question((client) => client.describeState({ modelPath: model.path, stateFile }));
      return required(described.state, 'DescribeStateResponse.state');
    };
    const stored = this.artifacts.fileOf(digest);
    if (stored !== null) return ask(stored);
    const folder = await newExportFolder();
    try {
      return await ask(await outlineOf(this.artifacts, digest, join(folder, 'state.safetensors')));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

function contradiction({ step, ...reported }: StateFact, name: string, value: unknown): EspalierError {
  const found = JSON.stringify(reported[name as keyof typeof reported] ?? 'other gates');
  return new EspalierError(
    'RESULT_CONTRADICTS_STATE',
    `the engine reported ${name} ${found} with the state at step ${step}, which has ${JSON.stringify(value)}`,
  );
}

function isSame(reported: unknown, computed: unknown): boolean {
  if (typeof reported === 'number' && typeof computed === 'number' && !Number.isInteger(computed))
    return Math.abs(reported - computed) <= SPARSITY_ROUNDING;
  return JSON.stringify(reported) === JSON.stringify(computed);
}

/** Writes a file with the header and the gates of a stored state. Holes stand for its other parts, which are large and not read. */
async function outlineOf(artifacts: StatesToRead, digest: string, path: string): Promise<string> {
  const bytes = (await artifacts.stat(digest))?.bytes ?? 0;
  let head = await range(artifacts, digest, 0, Math.min(bytes, HEADER_BYTES_USUAL));
  const headerBytes = head.length < 8 ? bytes : Number(head.readBigUInt64LE());
  if (headerBytes > HEADER_BYTES_MAX || 8 + headerBytes > bytes) throw corrupt('its header is longer than the file');
  const begin = 8 + headerBytes;
  if (head.length < begin) head = await range(artifacts, digest, 0, begin);
  const file = await open(path, 'wx', 0o600);
  try {
    await file.write(head, 0, begin, 0);
    await file.truncate(bytes);
    for (const [from, to] of gateRanges(head.subarray(8, begin))) {
      const values = await range(artifacts, digest, begin + from, to - from);
      await file.write(values, 0, values.length, begin + from);
    }
  } finally {
    await file.close();
  }
  return path;
}

/** The ranges of the data that hold the gates. Ranges with little between them are one, since each takes a request to a bucket. */
function gateRanges(header: Buffer): [from: number, to: number][] {
  const ranges: [from: number, to: number][] = [];
  const places = tensorsIn(header).flatMap(([name, place]) => (GATE_TENSORS.test(name) ? [place] : []));
  for (const [from, to] of places.sort(([one], [other]) => one - other)) {
    const last = ranges.at(-1);
    if (last !== undefined && from - last[1] <= GAP_BYTES_MAX) last[1] = Math.max(last[1], to);
    else ranges.push([from, to]);
  }
  return ranges;
}

function tensorsIn(header: Buffer): [name: string, place: [from: number, to: number]][] {
  try {
    const entries = Object.entries(JSON.parse(header.toString('utf8')) as Record<string, { data_offsets: [number, number] }>);
    return entries.filter(([name]) => name !== '__metadata__').map(([name, { data_offsets: place }]) => [name, place]);
  } catch {
    throw corrupt('its header is not JSON');
  }
}

async function range(artifacts: StatesToRead, digest: string, offset: number, bytes: number): Promise<Buffer> {
  const part = Buffer.from(await artifacts.range(digest, offset, bytes));
  if (part.length < bytes) throw corrupt(`it ends ${bytes - part.length} bytes too early`);
  return part;
}

const corrupt = (why: string): EspalierError =>
  new EspalierError('RESULT_CONTRADICTS_STATE', `the engine sent a state whose file is damaged: ${why}`);
