// Reads lines of logs for people: lines of pino, lines of an engine inside lines of the orchestrator, and plain text.
import { isTime } from '#files';

export type LogSource = 'orchestrator' | 'engine' | 'event-store';

export interface LogLine {
  /** Undefined where the line has none, or a number that is no time. */
  time: number | undefined;
  /** The level as pino's number: 30 info, 40 warn, 50 error. */
  level: number;
  source: LogSource;
  /** The message, for people. */
  text: string;
  /** The line as it was written: an object if it is JSON, otherwise its text. */
  logged: unknown;
}

export const LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;

interface Logged {
  time?: unknown;
  level?: number;
  msg?: string;
  err?: { message?: string };
  /** The line of an engine, as the orchestrator passes it on. */
  engine?: unknown;
  code?: string;
}

/**
 * Reads a line of pino. The orchestrator passes on each line of an engine as a field of one of its own lines; this returns the inner line.
 */
export function readLogLine(text: string, source: LogSource): LogLine {
  const logged = parsed(text);
  if (logged === undefined) return { time: undefined, level: LEVELS.info, source, text, logged: text };
  const { level, msg, err, engine, code } = logged;
  const time = typeof logged.time === 'number' && isTime(logged.time) ? logged.time : undefined;
  if (typeof engine === 'string' && msg === 'engine') {
    const inner = readLogLine(engine, 'engine');
    return { ...inner, time: inner.time ?? time };
  }
  const cause = err?.message !== undefined && !(msg ?? '').includes(err.message) ? err.message : '';
  const words = [msg, cause].filter(Boolean).join(': ') || text;
  return { time, level: level ?? LEVELS.info, source, text: code === undefined ? words : `${words} (${code})`, logged };
}

/** Sorts lines by time. A line without a time (a stack trace, Node's own messages) stays behind the line before it. */
export function inOrderOfTime(lines: readonly LogLine[]): LogLine[] {
  let time = 0;
  const timed = lines.map((line) => ({ line, time: (time = line.time ?? time) }));
  return timed.sort((left, right) => left.time - right.time).map(({ line }) => line);
}

const SECRETS = [/espalier_\w+?_[\w-]{20,}/g, /(?<=\bbearer\s+)[\w.~+/=-]{16,}/gi, /(?<=[?&]key=)[^\s&"]+/g];

/** Returns the line as it may be shown to other users. Logs should hold no secret; this stops one that got there by mistake. */
export function withoutSecrets(text: string, known: readonly string[] = []): string {
  const without = known.filter((secret) => secret !== '').reduce((rest, secret) => rest.replaceAll(secret, '[secret]'), text);
  return SECRETS.reduce((rest, pattern) => rest.replace(pattern, '[secret]'), without);
}

function parsed(text: string): Logged | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
