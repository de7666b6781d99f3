// Tests bytes that pass through a stream of messages: what arrives when one end writes, reads slowly, or ends the stream.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Duplex, PassThrough } from 'node:stream';
import { ByteTunnel, TUNNEL_PIECE_BYTES_MAX } from './byte-tunnel.js';

interface Message {
  piece: Buffer;
}

/** Makes both ends of a stream of messages, in the form of gRPC, and records how each end closes. */
function tunnels() {
  const [there, back] = [new PassThrough({ objectMode: true, highWaterMark: 1 }), new PassThrough({ objectMode: true, highWaterMark: 1 })];
  const sizes: number[] = [];
  const ends: string[] = [];
  const tunnel = (reads: PassThrough, writes: PassThrough): ByteTunnel => {
    const call = Duplex.from({ readable: reads, writable: writes });
    return new ByteTunnel(call, {
      bytesIn: ({ piece }: Message) => {
        sizes.push(piece.byteLength);
        if (piece.toString().startsWith('nonsense')) throw new Error('what is this?');
        return piece;
      },
      messageOf: (piece) => ({ piece }),
      finish: () => {
        ends.push('finished');
        call.end();
      },
      abandon: (error) => void ends.push(error === null ? 'abandoned' : error.message),
    });
  };
  return { left: tunnel(back, there), right: tunnel(there, back), sizes, ends };
}

test('they arrive whole and in order, in pieces of the allowed size', async () => {
  const { left, right, sizes, ends } = tunnels();
  const sent = Buffer.from(Array.from({ length: 3 * TUNNEL_PIECE_BYTES_MAX + 7 }, (_, index) => index % 251));
  left.end(sent);
  const received: Buffer[] = [];
  for await (const chunk of right) received.push(chunk as Buffer);
  expect(Buffer.concat(received).equals(sent)).toBe(true);
  expect(sizes).toEqual([TUNNEL_PIECE_BYTES_MAX, TUNNEL_PIECE_BYTES_MAX, TUNNEL_PIECE_BYTES_MAX, 7]);
  expect(ends[0]).toBe('finished');
});

test('a reader that reads nothing holds the writer up', async () => {
  const { left, sizes } = tunnels();
  const piece = Buffer.alloc(TUNNEL_PIECE_BYTES_MAX);
  let written = 0;
  for (let wanted = 0; wanted < 100; wanted += 1) left.write(piece, () => (written += 1));
  for (let turn = 0; turn < 500; turn += 1) await nextTurn();
  expect([written < 20, sizes.length < 20]).toEqual([true, true]);
  left.destroy();
});

test('what can not be read ends the tunnel with the reason', async () => {
  const { left, right, ends } = tunnels();
  const failed = new Promise((resolve) => right.once('error', resolve));
  left.write('nonsense');
  right.resume();
  expect(await failed).toEqual(new Error('what is this?'));
  expect(ends).toEqual(['what is this?']);
  left.destroy();
});
