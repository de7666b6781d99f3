// Lines of logs as people read them: of pino's, of an engine's in one of the orchestrator's, and plain words.

export type LogSource = 'orchestrator' | 'engine' | 'event-store';

export interface LogLine {
  time: number | undefined;
  /** pino's number: 30 info, 40 warn, 50 error. */
  level: number;
  source: LogSource;
  /** The text, for people. */
  text: string;
  /** As it was written: an object where it is JSON. */
  logged: unknown;
}

export const LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;

interface Logged {
  time?: number;
  level?: number;
  msg?: string;
  err?: { message?: string };
  /** A line of the engine's. */
  engine?: unknown;
  code?: string;
}

/** A line of pino's; the orchestrator passes on what its engine logs as a line in a line. */
export function readLogLine(text: string, source: LogSource): LogLine {
  const logged = parsed(text);
  if (logged === undefined) return { time: undefined, level: LEVELS.info, source, text, logged: text };
  const { time, level, msg, err, engine, code } = logged;
  if (typeof engine === 'string' && msg === 'engine') {
    const inner = readLogLine(engine, 'engine');
    return { ...inner, time: inner.time ?? time };
  }
  const cause = err?.message !== undefined && !(msg ?? '').includes(err.message) ? err.message : '';
  const words = [msg, cause].filter(Boolean).join(': ') || text;
  return { time, level: level ?? LEVELS.info, source, text: code === undefined ? words : `${words} (${code})`, logged };
}

/** Lines without a time of their own (a stack trace, Node's own words) stay behind the one before them. */
export function inOrderOfTime(lines: readonly LogLine[]): LogLine[] {
  let time = 0;
  const timed = lines.map((line) => ({ line, time: (time = line.time ?? time) }));
  return timed.sort((left, right) => left.time - right.time).map(({ line }) => line);
}

const SECRETS = [/espalier_\w+?_[\w-]{20,}/g, /(?<=\bbearer\s+)[\w.~+/=-]{16,}/gi, /(?<=[?&]key=)[^\s&"]+/g];

/** The line as it may be shown to others: logs hold no secret, and this keeps one that got there from going further. */
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
