// Token ids that a formula gives, for a computation that needs a text and has none: a plan, and a model without a run.

export const formulaTokens = (count: number, vocabularySize: number): Uint32Array =>
  Uint32Array.from({ length: count }, (_, at) => (at * at * 31 + 7 * at + 1) % vocabularySize);

/** Writes token ids as artifacts and the engine's protocol have them: 32 bits each, the lowest byte first. */
export function tokenBytes(ids: Uint32Array): Buffer {
  const bytes = Buffer.alloc(ids.length * 4);
  ids.forEach((id, at) => bytes.writeUInt32LE(id, at * 4));
  return bytes;
}
