// Values of a GGUF file's metadata by their kinds.
import { invalid, quoted } from './gguf-error.js';
import type { GgufValue } from './read-gguf.js';

export class Metadata {
  constructor(readonly values: ReadonlyMap<string, GgufValue>) {}

  number(key: string): number | undefined {
    return this.of(key, 'a number', (value) => typeof value === 'number' && Number.isFinite(value)) as number | undefined;
  }

  /** A whole number from 0 on. */
  whole(key: string): number | undefined {
    return this.of(key, 'a whole number', isWhole) as number | undefined;
  }

  text(key: string): string | undefined {
    return this.of(key, 'a text', (value) => typeof value === 'string') as string | undefined;
  }

  flag(key: string): boolean | undefined {
    return this.of(key, 'true or false', (value) => typeof value === 'boolean') as boolean | undefined;
  }

  texts(key: string): string[] | undefined {
    return this.of(key, 'a list of texts', (value) => isList(value, (one) => typeof one === 'string')) as string[] | undefined;
  }

  numbers(key: string): number[] | undefined {
    return this.of(key, 'a list of numbers', (value) => isList(value, (one) => typeof one === 'number')) as number[] | undefined;
  }

  /** One whole number for each of `count` layers; a single one stands for all of them. */
  perLayer(key: string, count: number): number[] | undefined {
    const allowed = `a whole number, or a list of ${count}`;
    const value = this.of(key, allowed, (one) => isWhole(one) || (isList(one, isWhole) && one.length === count));
    return Array.isArray(value) ? (value as number[]) : value === undefined ? undefined : new Array<number>(count).fill(value as number);
  }

  private of(key: string, allowed: string, fits: (value: GgufValue) => boolean): GgufValue | undefined {
    const value = this.values.get(key);
    if (value === undefined || fits(value)) return value;
    throw invalid(`${key} is ${quoted(JSON.stringify(value).slice(0, 81))}; ${allowed} is allowed`);
  }
}

const isWhole = (value: GgufValue): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isList = (value: GgufValue, fits: (one: GgufValue) => boolean): value is GgufValue[] => Array.isArray(value) && value.every(fits);

/** @throws GgufError where a key that every model needs is missing */
export function needed<T>(value: T | undefined, key: string): T {
  if (value === undefined) throw invalid(`${key} is missing`);
  return value;
}
