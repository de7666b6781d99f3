// Reads the values of options from the texts of a command line or the environment.
import { InvalidArgumentError } from 'commander';

/** More engines on one machine have not been tried. */
const ENGINES_MAX = 64;

export function listed(value: string, before: string[] = []): string[] {
  return [...before, ...value.split(',').filter(Boolean)];
}

export function engineCount(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !Number.isInteger(number) || number < 0 || number > ENGINES_MAX)
    throw new InvalidArgumentError(`Write a whole number from 0 to ${ENGINES_MAX}.`);
  return number;
}

export function milliseconds(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 0 || number > 60_000) throw new InvalidArgumentError('Write a whole number from 0 to 60000.');
  return number;
}

export function positive(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1 || number > 1024) throw new InvalidArgumentError('Write a whole number from 1 to 1024.');
  return number;
}

/** "true" or "1"; commander would take a "false" for a yes too. */
export function isOn(variable: string): boolean {
  return ['true', '1'].includes(process.env[variable] ?? '');
}
