// Measures the speed table for a target in seconds (docs/speed-tables.md). A measurement has an engine for itself, like any job.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { invalidField, engineV1, requestedValues, type v1 } from '#protocol';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { EnginePool } from '../engine-pool/engine-pool.js';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { ARTIFACT_STORE } from '../provider-names.js';
import { speedTableOf, speedTableText } from './speed-table-file.js';
import { modelShape } from './described-model.js';
import { ModelAndData } from './model-and-data.js';
import type { DataSource } from './named-data.js';

const USUAL_CONTEXT = 2048;
/** The engine decodes no more sequences together. */
const MOST_SEQUENCES = 16;
const COMPUTE_DTYPES: Record<string, engineV1.ComputeDtype> = {
  '': engineV1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED,
  bf16: engineV1.ComputeDtype.COMPUTE_DTYPE_BF16,
  f32: engineV1.ComputeDtype.COMPUTE_DTYPE_F32,
};

@Injectable()
export class SpeedTables {
  constructor(
    @Inject(EnginePool) private readonly engines: EnginePool,
    @Inject(EngineJobs) private readonly jobs: EngineJobs,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
  ) {}

  /** @param data of the launch that the table is for */
  async measure(
    request: Omit<v1.MeasureSpeedTableRequest, 'data'>,
    data: DataSource | null,
    signal: AbortSignal,
  ): Promise<v1.MeasureSpeedTableResponse> {
    const phase = phaseOf(request.phase);
    const computeDtype = COMPUTE_DTYPES[request.computeDtype];
    if (computeDtype === undefined)
      throw invalidField('FIELD_UNKNOWN_VALUE', 'compute_dtype', `must be bf16 or f32, is "${request.computeDtype}"`);
    if (request.batch > MOST_SEQUENCES)
      throw invalidField('FIELD_OUT_OF_RANGE', 'batch', `must be from 1 to ${MOST_SEQUENCES}, is ${request.batch}`);
    const modelPath = resolve(request.modelPath);
    if (request.settings !== undefined) await this.sources.requireLaunchable(modelPath, requestedValues(request.settings), data, signal);
    await this.requireEngine(request.on);
    const measureBy = async (client: EngineApi, ends: AbortSignal): Promise<v1.MeasureSpeedTableResponse> => {
      // The engine may be a user's, which lacks the model's files and is not asked what a model is.
      const inspect = (own: EngineApi) => own.inspectModel(modelPath, { skipWeights: true, signal: ends });
      const model = await this.engines.question(inspect);
      const { maxPositions } = model;
      const context = request.context || Math.min(USUAL_CONTEXT, Math.max(1, Number(maxPositions) - 1));
      const batch = request.batch || 1;
      const { rounds } = request;
      const asked = { modelPath, decode: phase === 'decode', context, sequences: batch, rounds, computeDtype };
      const { computeDtype: dtype, ...measured } = await client.measureSpeedTable(asked, ends);
      const text = speedTableText({ ...measured, dtype }, modelShape(model), { phase, context, batch });
      const { passSeconds, passSpread } = measured;
      const table = Buffer.from(text);
      ends.throwIfAborted(); // a client that went away keeps no table
      const { digest: tableDigest } = await this.artifacts.put(table);
      return { table, passSeconds, passSpread, device: measured.device, context, problem: problemOf(text), tableDigest };
    };
    const device = request.on === '' ? {} : { device: request.on };
    const wish = { runId: '', needsOurFiles: false, doing: 'the measurement of a speed table', ...device };
    return this.jobs.submit((bench, ends) => measureBy(bench.engine.client, ends), wish, signal).result;
  }

  /** @param device the device's name, such as "cuda:0", or '' for any. @throws EspalierError the reason why no engine can measure */
  private async requireEngine(device: string): Promise<void> {
    if (device === '') {
      if (!this.engines.canWork) (await this.engines.consult()).close();
      return;
    }
    const found = await this.engines.consultOn(device);
    if ('others' in found)
      throw invalidField(
        'FIELD_UNKNOWN_VALUE',
        'on',
        `is "${device}", but the server's engines compute on ${found.others.join(', ')}: start a server with ` +
          `\`espalier up --device ${device}\``,
      );
    found.close();
  }
}

/** The reason why a launch would refuse the table, such as too much noise, or '' where it would not. */
function problemOf(text: string): string {
  try {
    speedTableOf(text);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

function phaseOf(asked: string): 'prefill' | 'decode' {
  if (asked === '' || asked === 'decode') return 'decode';
  if (asked === 'prefill') return 'prefill';
  throw invalidField('FIELD_UNKNOWN_VALUE', 'phase', `must be decode or prefill, is "${asked}"`);
}
