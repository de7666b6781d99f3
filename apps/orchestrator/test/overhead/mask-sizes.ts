// node dist/apps/orchestrator/test/overhead/mask-sizes.js [views.sqlite]
//
// Prints the size of the history of masks: for a model of the shape of LLaMA 7B whose gates close evenly up to a half, with and without
// gates near the threshold that go to and fro; or, with the views of a server, for its runs.
import Database from 'better-sqlite3';
import { allGates, encodeGates, gatesApart, gatesDigest, gatesIn, type Gates } from '#audit';

const SEVEN_B = { layers: 32, heads: 32, units: 11_008, hidden: 4_096 };
const SEGMENTS = 500;
const FINAL_SHARE = 0.5;

/** @param unrest how far the rank of a gate moves from segment to segment, as a share of the whole range */
function simulated(unrest: number): void {
  const gates = SEVEN_B.layers * (SEVEN_B.heads + SEVEN_B.units) + SEVEN_B.hidden;
  const random = generator(7);
  const rank = Float64Array.from({ length: gates }, random);
  let open = allGates(gates);
  const [sizes, changes, times] = [[] as number[], [] as number[], [] as number[]];
  for (let segment = 1; segment <= SEGMENTS; segment += 1) {
    const threshold = (FINAL_SHARE * segment) / SEGMENTS;
    const next = allGates(gates);
    rank.forEach((one, gate) => {
      if (one + unrest * (random() - 0.5) < threshold) next[gate >> 3]! &= ~(1 << (gate & 7));
    });
    const start = performance.now();
    const changed = gatesApart(open, next);
    const text = encodeGates(changed);
    gatesDigest(open);
    gatesDigest(next);
    times.push(performance.now() - start);
    sizes.push(text.length);
    changes.push(count(changed));
    open = next;
  }
  const closed = encodeGates(gatesApart(allGates(gates), open)).length;
  console.log(
    `7B shape, ${gates} gates, unrest ${unrest}: ${mean(changes).toFixed(0)} changes and ` +
      `${mean(sizes).toFixed(0)} bytes a segment (most ${Math.max(...sizes)}), ` +
      `${(sum(sizes) / 1e6).toFixed(2)} MB in ${SEGMENTS} segments, ${median(times).toFixed(2)} ms each; ` +
      `a fork begins with ${closed} bytes`,
  );
}

function recorded(file: string): void {
  const database = new Database(file, { readonly: true });
  const rows = database
    .prepare(
      'SELECT run_id AS run, count(*) AS n, sum(length(changed)) AS bytes, max(length(changed)) AS most FROM mask_changes GROUP BY run_id',
    )
    .all() as { run: string; n: number; bytes: number; most: number }[];
  for (const { run, n, bytes, most } of rows)
    console.log(`${run}: ${n} segments, ${bytes} bytes of changes, ${(bytes / n).toFixed(0)} each, most ${most}`);
}

function count(gates: Gates): number {
  let found = 0;
  for (const _ of gatesIn(gates)) found += 1;
  return found;
}
const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: number[]): number => sum(values) / values.length;
const median = (values: number[]): number => [...values].sort((left, right) => left - right)[values.length >> 1]!;

/** Mulberry32, so that the figures are the same every time. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const [views] = process.argv.slice(2);
if (views === undefined) for (const unrest of [0, 0.001, 0.01]) simulated(unrest);
else recorded(views);
