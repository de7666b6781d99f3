// The figures that the measurements of many runs print.
import { readFileSync } from 'node:fs';

const sorted = (times: number[]): number[] => [...times].sort((a, b) => a - b);

export const inWords = (times: number[]): object => {
  const all = sorted(times);
  const at = (share: number): number => Math.round(all[Math.min(all.length - 1, Math.floor(all.length * share))]! * 10) / 10;
  return { asked: all.length, median_ms: at(0.5), p95_ms: at(0.95), longest_ms: at(1) };
};

/** The seconds of a processor that the process has used so far. */
export function processorSeconds(pid: number): number {
  const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ').slice(11, 13).map(Number);
  return (user! + system!) / 100;
}
