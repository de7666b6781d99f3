import pino, { type Logger } from 'pino';
import { LossyWriter } from './lossy-writer.js';

export interface LogOptions {
  level?: string;
  /** The fields that every line has. */
  base: Record<string, unknown>;
}

/**
 * Opens a log that writes JSON lines to standard error. Control characters are escaped, so that no line acts upon the terminal that shows
 * it. Logging never throws, whatever is logged and whatever happens to standard error.
 */
export function openLog({ level = 'info', base }: LogOptions): Logger {
  return pino({ level, base }, LossyWriter.to(2));
}
