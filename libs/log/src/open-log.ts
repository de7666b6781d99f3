import pino, { type Logger } from 'pino';
import { LossyWriter } from './lossy-writer.js';

export interface LogOptions {
  level?: string;
  /** Fields of every line. */
  base: Record<string, unknown>;
}

/**
 * JSON lines on standard error, in which nothing acts upon a terminal that shows them. Nothing that is logged, and nothing that
 * happens to standard error, ever throws.
 */
export function openLog({ level = 'info', base }: LogOptions): Logger {
  return pino({ level, base }, LossyWriter.to(2));
}
