const KEPT = 1000;

/** Times from sending a message to its answer, the latest of them, for the statistics a client may ask for. */
export class LatencySamples {
  private readonly samples: number[] = [];
  private next = 0;

  add(ms: number): void {
    this.samples[this.next] = ms;
    this.next = (this.next + 1) % KEPT;
  }

  /** Named and rounded as the protocol's servers do. */
  measurements(): [name: string, ms: number][] {
    const sorted = [...this.samples].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
    const mean = sorted.reduce((sum, ms) => sum + ms, 0) / Math.max(1, sorted.length);
    const variance = sorted.reduce((sum, ms) => sum + (ms - mean) ** 2, 0) / Math.max(1, sorted.length);
    const named: [string, number][] = [
      ['Mean', mean],
      ['Median', at(0.5)],
      ['Normal StdDev', Math.sqrt(variance)],
      ['Max', at(1)],
      ['Min', at(0)],
      ...[1, 2, 3, 4, 5].map((quintile): [string, number] => [`Quintile ${quintile}`, at(quintile / 5)]),
      ...[90, 95, 99, 99.5, 99.9].map((percent): [string, number] => [`${percent}%`, at(percent / 100)]),
    ];
    return named.map(([name, ms]) => [name, Math.round(ms)]);
  }
}
