// A file of the artifact store, written to the reader's disk as it comes where the browser can do that, and else kept in memory until it
// is whole.
import { download } from '../ui/download.js';
import { artifactService } from './client.js';

/** A browser that can't write to the disk itself would hold the whole file in memory. */
const MOST_IN_MEMORY = 2 ** 31;

interface Wanted {
  name: string;
  digest: string;
  bytes: bigint;
}

interface Sink {
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  close(): Promise<void>;
  abort(): Promise<void>;
}
type Chooses = { showSaveFilePicker(options: { suggestedName: string }): Promise<{ createWritable(): Promise<Sink> }> };

export async function saveArtifact(file: Wanted, onShare: (share: number) => void, signal: AbortSignal): Promise<void> {
  const sink = 'showSaveFilePicker' in window ? await onDisk(window as unknown as Chooses, file) : inMemory(file);
  let done = 0;
  try {
    for await (const { chunk } of artifactService.downloadArtifact({ digest: file.digest }, { signal })) {
      await sink.write(chunk as Uint8Array<ArrayBuffer>);
      done += chunk.length;
      onShare(done / Math.max(1, Number(file.bytes)));
    }
    if (BigInt(done) !== file.bytes) throw new Error(`the server sent ${done} of ${file.bytes} bytes`);
  } catch (error) {
    await sink.abort();
    throw error;
  }
  await sink.close();
}

const onDisk = async (chooses: Chooses, { name }: Wanted): Promise<Sink> =>
  (await chooses.showSaveFilePicker({ suggestedName: name.replace(/^.*\//, '') })).createWritable();

function inMemory({ name, bytes }: Wanted): Sink {
  if (bytes > MOST_IN_MEMORY)
    throw new Error('this browser would have to keep the file in memory, for which it is too large: use the command line');
  let chunks: Uint8Array<ArrayBuffer>[] = [];
  return {
    write: (chunk) => Promise.resolve(void chunks.push(chunk)),
    close: () => {
      download(name, 'application/octet-stream', new Blob(chunks));
      return Promise.resolve();
    },
    abort: () => Promise.resolve(void (chunks = [])),
  };
}
