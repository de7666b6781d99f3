import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeSliceList } from '#files';
import { removeSlices, stateInMemory, stateInSlices } from './handed-state.js';
import { HeldStates, sumsOfParts } from './held-states.js';

const state = Buffer.from(Array.from({ length: 2_500 }, (_, index) => index % 251));

test('a state is held for each training that has handed it out, and its parts go where they are wanted', async () => {
  const received = new Map<string, Buffer>();
  const server = createServer((request, response) => {
    const body: Buffer[] = [];
    request.on('data', (chunk: Buffer) => body.push(chunk));
    request.on('end', () => {
      received.set(request.url!, Buffer.concat(body));
      response.writeHead(200, { etag: `etag of ${request.url}` }).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const at = (path: string): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
  const held = new HeldStates();
  const gone: string[] = [];
  held.hold('a', stateInMemory(state), () => gone.push('first'));
  held.hold('a', stateInMemory(state), () => gone.push('second'));
  held.release('a');
  expect(gone).toEqual(['first']);
  const parts = [0, 1, 2].map((index) => ({
    offset: BigInt(index * 1_000),
    bytes: BigInt(Math.min(1_000, 2_500 - index * 1_000)),
    url: at(`/${index}`),
    headers: {},
  }));
  expect(await held.put({ digest: 'a', parts })).toEqual(['etag of /0', 'etag of /1', 'etag of /2']);
  expect(Buffer.compare(Buffer.concat([0, 1, 2].map((index) => received.get(`/${index}`)!)), state)).toBe(0);
  const sent: Buffer[] = [];
  for await (const { chunk } of held.chunks('a')) sent.push(chunk);
  expect(Buffer.compare(Buffer.concat(sent), state)).toBe(0);
  held.release('a');
  expect(gone).toEqual(['first', 'second']);
  await expect(held.put({ digest: 'a', parts })).rejects.toMatchObject({ code: 'STATE_NOT_HELD' });
  server.close();
});

test('a part that reaches beyond the state is refused, and names its field', async () => {
  const held = new HeldStates();
  held.hold('a', stateInMemory(state), () => undefined);
  const parts = [{ offset: 2_000n, bytes: 501n, url: 'http://127.0.0.1:1/', headers: {} }];
  await expect(held.put({ digest: 'a', parts })).rejects.toMatchObject({ violations: [{ field: 'parts[0]' }] });
});

test('the end waits for states that nothing has taken, and goes when their claim has ended', async () => {
  const held = new HeldStates();
  let isGone = false;
  held.hold('a', stateInMemory(state), () => (isGone = true));
  const handedIn = held.handedIn(600_000);
  held.clear();
  await handedIn;
  expect(isGone).toBe(true);
});

test('parts have their sums, the last one shorter than the others', async () => {
  const sum = (from: number, to: number): string => createHash('sha256').update(state.subarray(from, to)).digest('hex');
  expect((await sumsOfParts(stateInMemory(state), 1_000)).map((one) => one.toString('hex'))).toEqual([
    sum(0, 1_000),
    sum(1_000, 2_000),
    sum(2_000, 2_500),
  ]);
  expect(await sumsOfParts(stateInMemory(state), 2_500)).toHaveLength(1);
});

test('a state in slices is read from its files, and no part reaches from one slice into the next', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-slices-'));
  const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  const pieces = [state.subarray(0, 1_500), state.subarray(1_500)];
  for (const piece of pieces) writeFileSync(join(folder, digest(piece)), piece);
  const list = encodeSliceList(pieces.map((piece) => ({ digest: digest(piece), bytes: piece.byteLength })));
  writeFileSync(join(folder, 'list'), list);
  const sliced = await stateInSlices(folder);
  expect(sliced.bytes).toBe(2_500);
  expect(Buffer.from(await sliced.read(1_400, 1_600)).equals(state.subarray(1_400, 1_600))).toBe(true);
  const sums = (await sumsOfParts(sliced, 1_000)).map((one) => one.toString('hex'));
  expect(sums).toEqual([state.subarray(0, 1_000), state.subarray(1_000, 1_500), state.subarray(1_500)].map(digest));
  await removeSlices(folder);
  await expect(stateInSlices(folder)).rejects.toMatchObject({ code: 'STATE_NOT_HELD' });
});
