// Saves a file of the server. It is written to the reader's disk as it arrives if the browser can do that, and otherwise kept in memory
// until it is complete.
import { download } from '../ui/save-file.js';
import { artifactService, historyService } from './client.js';

/** The largest file for a browser that can't write to the disk itself, since it holds the whole file in memory. */
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

export async function saveArtifact({ name, digest, bytes }: Wanted, onShare: (share: number) => void, signal: AbortSignal): Promise<void> {
  if (!writesToDisk() && bytes > MOST_IN_MEMORY) throw tooLarge();
  const chunks = artifactService.downloadArtifact({ digest }, { signal });
  await save(name, chunks, (done) => onShare(done / Math.max(1, Number(bytes))), bytes);
}

/** @param onBytes called with the number of bytes that have arrived; their total is not known before the end */
export async function saveAudit(runId: string, onBytes: (done: number) => void, signal: AbortSignal): Promise<void> {
  await save(`${runId}.audit.tar`, historyService.exportAudit({ runId }, { signal }), onBytes);
}

/** @param bytes the size of the file; undefined: unknown */
async function save(
  name: string,
  chunks: AsyncIterable<{ chunk: Uint8Array }>,
  onBytes: (done: number) => void,
  bytes?: bigint,
): Promise<void> {
  const sink = writesToDisk() ? await onDisk(window as unknown as Chooses, name) : inMemory(name);
  let done = 0;
  try {
    for await (const { chunk } of chunks) {
      await sink.write(chunk as Uint8Array<ArrayBuffer>);
      done += chunk.length;
      onBytes(done);
    }
    if (bytes !== undefined && BigInt(done) !== bytes) throw new Error(`the server sent ${done} of ${bytes} bytes`);
  } catch (error) {
    await sink.abort();
    throw error;
  }
  await sink.close();
}

const writesToDisk = (): boolean => 'showSaveFilePicker' in window;

const onDisk = async (chooses: Chooses, name: string): Promise<Sink> =>
  (await chooses.showSaveFilePicker({ suggestedName: name.replace(/^.*\//, '') })).createWritable();

const tooLarge = (): Error =>
  new Error('this browser would have to keep the file in memory, for which it is too large: use the command line');

function inMemory(name: string): Sink {
  let chunks: Uint8Array<ArrayBuffer>[] = [];
  let held = 0;
  return {
    write: (chunk) => {
      held += chunk.length;
      if (held > MOST_IN_MEMORY) return Promise.reject(tooLarge());
      chunks.push(chunk);
      return Promise.resolve();
    },
    close: () => {
      download(name, 'application/octet-stream', new Blob(chunks));
      return Promise.resolve();
    },
    abort: () => Promise.resolve(void (chunks = [])),
  };
}
