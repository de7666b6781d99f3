/** Returns a text like "1 thread", "2 threads" or "0 threads". `write` formats the number. */
export function counted(
  number: number | bigint,
  one: string,
  several = `${one}s`,
  write: (value: number | bigint) => string = String,
): string {
  return `${write(number)} ${Number(number) === 1 ? one : several}`;
}

/** Returns "step 3" or "steps 3 to 9". `end` is the first step after them. */
export function stepsFrom(first: number | bigint, end: number | bigint): string {
  const last = BigInt(end) - 1n;
  return last > BigInt(first) ? `steps ${first} to ${last}` : `step ${first}`;
}
