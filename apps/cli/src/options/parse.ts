// Reads the values of options. Only the form is checked here; the server, which knows the model, checks the range.
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { EXPORT_FORMAT_NAMES, typedNumber } from '#comparison';
import { HubNameError, hubPath, type HubKind } from '#hub';
import { addressProblem } from '#local-access';
import { v1, wholeNumberOf } from '#protocol';
import { weightedPath, type WeightedPath } from '#run-files';
import { statusWord } from '../output/format.js';

export function wholeNumber(text: string): number {
  try {
    return wholeNumberOf(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** Reads whole numbers for an option whose range is smaller than that of whole numbers, and names the range. */
function wholeFrom(least: number, most = Number.POSITIVE_INFINITY): (text: string) => number {
  const allowed = `A whole number from ${least} ${Number.isFinite(most) ? `to ${most}` : 'on'} is allowed.`;
  return (text) => {
    const value = wholeNumberIn(text);
    if (value === null || value < least || value > most) throw new InvalidArgumentError(allowed);
    return value;
  };
}

/** Returns null where the text is no whole number from 0 on. A number that is too large for the protocol is refused with that limit. */
function wholeNumberIn(text: string): number | null {
  try {
    return wholeNumberOf(text);
  } catch (error) {
    if (Number(text) > 0 && Number.isInteger(Number(text))) throw new InvalidArgumentError((error as Error).message);
    return null;
  }
}

/** Reads a number for an option where 0 would mean that it was left out. */
export const positiveNumber = wholeFrom(1);

/** Reads how many sequences are decoded together. The engine decodes no more texts together. */
export const sequencesTogether = wholeFrom(1, 16);

export function bigNumber(text: string): bigint {
  if (!/^\d+$/.test(text) || BigInt(text) >= 1n << 64n) throw new InvalidArgumentError('A whole number from 0 to 2^64 - 1 is allowed.');
  return BigInt(text);
}

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('A number is allowed, e.g. 0.5 or 1e-3.');
  return value;
}

/** Reads a share, which may be in percent. */
export function share(text: string): number {
  try {
    return typedNumber({ share: true, unit: '' }, text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

export function shareBelowOne(text: string): number {
  const value = share(text);
  if (value < 0 || value >= 1) throw new InvalidArgumentError('A share from 0 to below 1 is allowed, e.g. 0.5 or 50%.');
  return value;
}

export function exportFormat(text: string): string {
  if (!EXPORT_FORMAT_NAMES.some((name) => name === text)) throw new InvalidArgumentError(`Allowed are ${EXPORT_FORMAT_NAMES.join(', ')}.`);
  return text;
}

/** Reads a window's size. A window needs a first token and one to predict. */
export const windowTokens = wholeFrom(2);

/** Reads an address to listen at. Port 0 picks a free port. */
export function listenAddress(text: string): string {
  const port = Number(/^.+:(\d{1,5})$/.exec(text)?.[1] ?? Number.NaN);
  if (!(port >= 0 && port <= 65_535)) throw new InvalidArgumentError('HOST:PORT is allowed, with a port from 0 to 65535.');
  return text;
}

export function webAddress(text: string): string {
  return text === 'off' ? text : listenAddress(text);
}

export const threadCount = countFrom(1, 1024);
export const runCount = countFrom(1, 1024);
export const engineCount = countFrom(0, 64);
export const cardCount = countFrom(1, 64);

function countFrom(low: number, high: number): (text: string) => string {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= low && value <= high)) throw new InvalidArgumentError(`A whole number from ${low} to ${high} is allowed.`);
    return String(value);
  };
}

/** Reads an engine's address. Each repetition of the option adds one. */
export function engineAddresses(text: string, before: string[] = []): string[] {
  const problem = addressProblem(text, { anyPort: false });
  if (problem !== null) throw new InvalidArgumentError(`It ${problem}.`);
  if (before.includes(text)) throw new InvalidArgumentError('It is named twice.');
  return [...before, text];
}

/** Returns the path, or the path of the hub's cache that the text names. */
function pathOrHubName(text: string, kind: HubKind): string {
  const path = absolutePath(text);
  try {
    return hubPath(text, kind, path) ?? path;
  } catch (error) {
    if (error instanceof HubNameError) throw new InvalidArgumentError(error.message);
    throw error;
  }
}

export function dataPath(text: string): string {
  return pathOrHubName(text, 'dataset');
}

/** Reads a path of training text, with its weight if texts are mixed. Each repetition of the option adds one. */
export function weightedPaths(text: string, before: WeightedPath[] = []): WeightedPath[] {
  try {
    const { path, ...weight } = weightedPath(text, (one) => existsSync(absolutePath(one)));
    return [...before, { path: dataPath(path), ...weight }];
  } catch (error) {
    if (error instanceof RangeError) throw new InvalidArgumentError(error.message);
    throw error;
  }
}

/** Reads a path of a text. Each repetition of the option adds one. */
export function dataPaths(text: string, before: string[] = []): string[] {
  return [...before, dataPath(text)];
}

/** Reads a folder that must exist. Each repetition of the option adds one. */
export function existingFolders(path: string, before: string[] = []): string[] {
  const folder = absolutePath(path);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    throw new InvalidArgumentError(`${folder} is not a folder; an existing folder is allowed.`);
  return [...before, folder];
}

/** Reads a device. Each repetition of the option names the next engine's device. */
export function deviceNames(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** Reads the devices of one engine, and joins them as --device takes them. */
export function deviceList(text: string, before: string[] = []): string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('Names of devices with commas between them are allowed, as in cuda:0,cuda:1.');
  return [...before, names.join('+')];
}

/** Returns the folder of a model. A path of one of its files stands for its folder. */
export function modelFolder(text: string): string {
  const path = pathOrHubName(text, 'model');
  return /^(config|tokenizer|generation_config|model\.safetensors\.index)\.json$|\.safetensors$/.test(basename(path))
    ? dirname(path)
    : path;
}

function list(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** Reads a list of names, which must not be empty. */
export function names(text: string): string[] {
  const given = list(text);
  if (given.length === 0) throw new InvalidArgumentError('At least one name is needed.');
  return given;
}

/** Reads the id of a request. With an empty one, as of an unset variable of a script, each repetition would start another run. */
export function requestId(text: string): string {
  if (text === '') throw new InvalidArgumentError('An id is needed, the same at each repetition.');
  return text;
}

/** Makes a path absolute, because the server has another working folder. */
export function absolutePath(path: string): string {
  if (path === '') throw new InvalidArgumentError('A path is needed.');
  return resolve(path);
}

export function stepRange(text: string): { from?: bigint; to?: bigint } {
  const [, from = '', , to = ''] = /^(\d*)(\.\.|-|:)(\d*)$/.exec(text) ?? [];
  if (from === '' && to === '') throw new InvalidArgumentError('FROM..TO is allowed, e.g. 100..200, 100.. or ..200.');
  const range = {
    ...(from === '' ? {} : { from: BigInt(from) }),
    ...(to === '' ? {} : { to: BigInt(to) }),
  };
  if (range.from !== undefined && range.to !== undefined && range.from > range.to)
    throw new InvalidArgumentError('FROM must not be above TO.');
  return range;
}

/** The statuses of runs by their words. */
export const STATUSES: Record<string, v1.RunStatus> = Object.fromEntries(
  Object.values(v1.RunStatus)
    .filter((one): one is v1.RunStatus => typeof one === 'number' && one > v1.RunStatus.RUN_STATUS_UNSPECIFIED)
    .map((one) => [statusWord(one), one]),
);

export function choice<T>(choices: Record<string, T>): (text: string) => T {
  const all = new Map(Object.entries(choices));
  return (text) => {
    const value = all.get(text);
    if (value === undefined) throw new InvalidArgumentError(`Allowed are ${Object.keys(choices).join(', ')}.`);
    return value;
  };
}

export function choices<T>(allowed: Record<string, T>): (text: string, previous: T[] | undefined) => T[] {
  const one = choice(allowed);
  return (text, previous = []) => [...previous, ...list(text).map(one)];
}
