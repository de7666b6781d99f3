// Writes the folder of an export, from the files of a model and of a state, or of a model alone.
import { isAbsolute } from 'node:path';
import { exportModel as writeExport } from '#native-engine';
import { engineV1, invalidField } from '#protocol';
import { Batches } from './batches.js';
import { exportKind } from './protocol-messages.js';

export async function* exportModel(
  request: engineV1.ExportModelRequest,
  signal: AbortSignal,
): AsyncGenerator<engineV1.ExportModelResponse> {
  const { modelPath, weightsDigest, stateFile, outFolder, modelCard } = request;
  const paths = { model_path: modelPath, ...(stateFile === '' ? {} : { state_file: stateFile }), out_folder: outFolder };
  for (const [field, path] of Object.entries(paths))
    if (!isAbsolute(path)) throw invalidField('FIELD_OUT_OF_RANGE', field, `is "${path}": it must be an absolute path`);
  const shares = new Batches<number>();
  const options = { ...exportKind(request), modelFolder: modelPath, weightsDigest, stateFile, outFolder, modelCard };
  const running = writeExport(options, { signal, onReports: (batch) => shares.push(batch) }).finally(() => shares.end());
  running.catch(() => undefined); // awaited below, after the last report
  for await (const batch of shares) yield { doneShare: batch.at(-1)!, outcome: undefined };
  yield { doneShare: 1, outcome: await running };
}
