// A speed table that the server measures: bench --table, and launch and plan with --on.
import type { v1 } from '#protocol';
import type { Context } from './context.js';
import { count, decimal, duration } from './output/format.js';
import { LiveLine } from './progress/live-line.js';

/** Measuring nine widths of a large model takes minutes. */
const TABLE_TIMEOUT_MS = 3_600_000;
const TICK_MS = 500;

/** How long it takes depends on the device and the noise, so the line says how long it has taken. */
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

/** @param phase as it was asked for */
export function tableWords({ context, device, passSeconds, passSpread }: v1.MeasureSpeedTableResponse, phase: string): string {
  return (
    `${phase || 'decode'} at context ${count(context)} on ${device}: ${decimal(passSeconds * 1e3, 3)} ms for the intact model, ` +
    `give or take ${decimal(passSpread * 100, 1)}%`
  );
}
