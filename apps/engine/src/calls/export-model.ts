// Sends an export as a stream: the engine writes the folder to scratch, and then its files are sent one after the other.
import { open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { engineV1 } from '#protocol';
import { Batches } from './batches.js';
import { CHUNK_BYTES } from './chunks.js';
import { exportedMessage, exportKind } from './protocol-messages.js';
import type { ScratchFolder } from '../scratch-folder.js';
import type { SessionHolder } from '../session-holder.js';

const none = { fileName: '', fileBytes: 0n, chunk: Buffer.alloc(0), outcome: undefined, doneShare: 0 };

export async function* exportModel(
  holder: SessionHolder,
  scratch: ScratchFolder,
  request: engineV1.ExportModelRequest,
  signal: AbortSignal,
): AsyncGenerator<engineV1.ExportModelResponse> {
  const { session } = holder.require(request.sessionId);
  const outFolder = scratch.newPath();
  const options = { ...exportKind(request), outFolder, modelCard: request.modelCard };
  try {
    const shares = new Batches<number>();
    const running = holder
      .exclusive('ExportModel', (stop) => session.exportModel(options, { signal: stop, onReports: (batch) => shares.push(batch) }), signal)
      .finally(() => shares.end());
    running.catch(() => undefined); // awaited below, after the last report
    for await (const batch of shares) yield { ...none, doneShare: batch.at(-1)! };
    const exported = await running;
    for (const file of exported.files) {
      yield { ...none, fileName: file.name, fileBytes: BigInt(file.sizeBytes) };
      for await (const chunk of chunksOfFile(join(outFolder, file.name))) yield { ...none, chunk };
    }
    yield { ...none, outcome: exportedMessage(exported) };
  } finally {
    await rm(dirname(outFolder), { recursive: true, force: true });
  }
}

async function* chunksOfFile(path: string): AsyncGenerator<Buffer> {
  const file = await open(path);
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES));
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
