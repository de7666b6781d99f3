// Words for a connection that failed, in place of the texts of the system and of the transport, which tell a user nothing.

const WORDS: [RegExp, string][] = [
  [/ECONNREFUSED/, 'no program listens at its address'],
  [/ENOTFOUND|EAI_AGAIN/, 'the name of its machine is not known'],
  [/EHOSTUNREACH|ENETUNREACH|ETIMEDOUT/, 'its machine is not reached'],
  [/EPIPE|ECONNRESET|socket hang up|[Cc]onnection dropped|RST_STREAM|GOAWAY/, 'the connection to it broke'],
  [/DEADLINE_EXCEEDED|[Dd]eadline exceeded/, 'it did not answer in time'],
  [/Received HTTP status code/, 'it speaks another protocol'],
];

/** Says what a text of a failed connection means; undefined: it means something else. */
export function connectionWords(text: string): string | undefined {
  return WORDS.find(([pattern]) => pattern.test(text))?.[1];
}
