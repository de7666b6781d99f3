// Measures the table that a target in seconds goes by (docs/speed-tables.md), on an engine that has nothing else to do.
import { Inject, Injectable } from '@nestjs/common';
import { resolve } from 'node:path';
import { EspalierError, invalidField, engineV1, type v1 } from '#protocol';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { speedTableOf, speedTableText } from './speed-table-file.js';
import { modelShape } from './model-and-data.js';

const USUAL_CONTEXT = 2048;
const COMPUTE_DTYPES: Record<string, engineV1.ComputeDtype> = {
  '': engineV1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED,
  bf16: engineV1.ComputeDtype.COMPUTE_DTYPE_BF16,
  f32: engineV1.ComputeDtype.COMPUTE_DTYPE_F32,
};

@Injectable()
export class SpeedTables {
  constructor(@Inject(EnginePool) private readonly engines: EnginePool) {}

  async measure(request: v1.MeasureSpeedTableRequest, signal: AbortSignal): Promise<v1.MeasureSpeedTableResponse> {
    const phase = phaseOf(request.phase);
    const computeDtype = COMPUTE_DTYPES[request.computeDtype];
    if (computeDtype === undefined)
      throw invalidField('FIELD_UNKNOWN_VALUE', 'compute_dtype', `must be bf16 or f32, is "${request.computeDtype}"`);
    const modelPath = resolve(request.modelPath);
    const { client, slot, close } = await this.engines.consult();
    try {
      const device = slot.about?.backend ?? '';
      if (request.on !== '' && request.on !== device)
        throw invalidField(
          'FIELD_UNKNOWN_VALUE',
          'on',
          `is "${request.on}", but the server's engine computes on ${device}: start a server with \`espalier up --device ${request.on}\``,
        );
      const { maxPositions } = await client.inspectModel(modelPath, { skipWeights: true, signal });
      const context = request.context || Math.min(USUAL_CONTEXT, Math.max(1, Number(maxPositions) - 1));
      const batch = request.batch || 1;
      const { rounds } = request;
      const asked = { modelPath, decode: phase === 'decode', context, sequences: batch, rounds, computeDtype };
      const { model, computeDtype: dtype, ...measured } = await client.measureSpeedTable(asked, signal);
      if (model === undefined) throw new EspalierError('ENGINE_FAILED', 'the engine sent no MeasureSpeedTableResponse.model');
      const text = speedTableText({ ...measured, dtype }, modelShape(model), { phase, context, batch });
      const { passSeconds, passSpread } = measured;
      return { table: Buffer.from(text), passSeconds, passSpread, device: measured.device, context, problem: problemOf(text) };
    } finally {
      close();
    }
  }
}

/** Why a launch would refuse the table: noise that is too loud. */
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
