// Asks the server to measure a speed table, for bench --table and for launch and plan with --on.
import type { v1 } from '#protocol';
import type { Context } from '../command-context.js';
import { count, decimal, duration } from '../output/format.js';
import { LiveLine } from '../progress/live-line.js';

/** Measuring nine widths of a large model takes minutes. */
const TABLE_TIMEOUT_MS = 3_600_000;
const TICK_MS = 500;

/** Measures a table. The duration depends on the device and its noise, so the line shows the time that has passed. */
export async function measureTable(
  { connection, output }: Context,
  request: v1.MeasureSpeedTableRequest,
): Promise<v1.MeasureSpeedTableResponse> {
  const live = new LiveLine(output.terminal);
  const began = performance.now();
  const where = request.on === '' ? '' : ` on ${request.on}`;
  const tick = (): void => live.update(`measuring seconds by width${where}  ${duration((performance.now() - began) / 1_000)}`);
  tick();
  const timer = setInterval(tick, TICK_MS);
  try {
    return await connection.call(connection.engines, connection.engines.measureSpeedTable, request, TABLE_TIMEOUT_MS);
  } finally {
    clearInterval(timer);
    live.end();
  }
}

/** @param phase the phase that was asked for; '': the default */
export function tableWords({ context, device, passSeconds, passSpread }: v1.MeasureSpeedTableResponse, phase: string): string {
  return (
    `${phase || 'decode'} at context ${count(context)} on ${device}: ${decimal(passSeconds * 1e3, 3)} ms for the intact model, ` +
    `give or take ${decimal(passSpread * 100, 1)}%`
  );
}
