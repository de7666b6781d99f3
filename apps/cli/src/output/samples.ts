// Writes the samples of evaluated tasks as JSON Lines: each question, the model, and the result.
import { v1 } from '#protocol';
import type { Connection } from '../connection/connection.js';

/** The beginning of every line. */
const START = '{"task":';
const LINE_END = 10;

export const areSamples = (head: Buffer): boolean => head.subarray(0, START.length).toString() === START;

/** Yields the samples of all evaluated models and tasks, one after the other. */
export async function* samplesOf(
  connection: Connection,
  runId: string,
  evaluations: readonly v1.Evaluation[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const seen = new Set<string>();
  for (const evaluation of evaluations) {
    const { samplesDigest: digest, subject, teacherMark, task, step, stateDigest } = evaluation;
    const key = JSON.stringify([subject, teacherMark, task, digest]);
    if (digest === '' || seen.has(key)) continue; // the metrics of a task share their samples
    seen.add(key);
    const model = { run: runId, subject, teacher: teacherMark ?? null, step: Number(step), state: stateDigest || null };
    const request = v1.DownloadArtifactRequest.fromPartial({ digest });
    const chunks = connection.stream(connection.artifacts, connection.artifacts.downloadArtifact, request, signal);
    for await (const line of linesOf(chunks)) {
      const { task: name, ...rest } = JSON.parse(line.toString()) as { task: string };
      yield Buffer.from(`${JSON.stringify({ task: name, ...model, ...rest })}\n`);
    }
  }
}

async function* linesOf(chunks: AsyncIterable<v1.DownloadArtifactResponse>): AsyncGenerator<Buffer> {
  let open: Uint8Array[] = []; // the parts of a line whose end has not arrived yet
  for await (const { chunk } of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(LINE_END); end >= 0; end = chunk.indexOf(LINE_END, from)) {
      yield Buffer.concat([...open, chunk.subarray(from, end)]);
      open = [];
      from = end + 1;
    }
    if (from < chunk.length) open.push(chunk.subarray(from));
  }
  if (open.length > 0) yield Buffer.concat(open);
}
