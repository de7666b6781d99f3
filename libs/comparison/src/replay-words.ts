// How much of a run was computed twice, and by which engines, in words.

export interface Replays {
  agreeing: number | bigint;
  byOtherEngine: number | bigint;
  differing: number | bigint;
  engines: readonly string[];
}

/** Such as "120 of 300 steps, 60 of them by another engine than trained them (gpu-2, a process of the server)". */
export function replayWords({ agreeing, byOtherEngine, differing, engines }: Replays, steps: number | bigint): string {
  if (Number(agreeing) === 0 && Number(differing) === 0) return `none of ${steps} steps`;
  const others = Number(byOtherEngine) === 0 ? 'none of them' : `${byOtherEngine} of them`;
  const names = engines.map((name) => name || 'a process of the server').join(', ');
  const wrong = Number(differing) === 0 ? '' : `; ${differing} steps differ from the record`;
  return `${agreeing} of ${steps} steps, ${others} by another engine than trained them (${names})${wrong}`;
}

/** Such as "by gpu-2, another engine than the one that trained them". */
export function replayEngineWords(engines: readonly { name: string; other: boolean }[]): string {
  return engines
    .map(({ name, other }) => {
      const who = name === '' ? 'a process of the server' : `engine ${name}`;
      return `by ${who}, ${other ? 'another engine than trained them' : 'on the machine that trained them'}`;
    })
    .join(' and ');
}
