import { delayBeforeNextTryMs } from './orchestrator-stream.js';

describe('the wait of an engine before it dials in again', () => {
  const afterConnectionsOf = (...heldMs: number[]): number[] => {
    let delayMs = 0;
    return heldMs.map((held) => (delayMs = delayBeforeNextTryMs(delayMs, held)));
  };

  it('doubles up to ten seconds where the server can not be reached', () => {
    expect(afterConnectionsOf(0, 0, 0, 0, 0, 0, 0)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  });

  it('is short after each connection that held for a while, however often connections are cut', () => {
    expect(afterConnectionsOf(4_000, 4_000, 4_000, 4_000)).toEqual([500, 500, 500, 500]);
    expect(afterConnectionsOf(0, 0, 0, 4_000)).toEqual([500, 1_000, 2_000, 500]);
  });

  it('doubles where a server lets the engine in and hangs up at once', () => {
    expect(afterConnectionsOf(20, 20, 20)).toEqual([500, 1_000, 2_000]);
  });
});
