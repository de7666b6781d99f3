// Tests of log lines for which there is no room, and of lines that are too long.
import { cutLine, LINE_CHARACTERS_MAX } from './cut-line.js';
import { LossyWriter } from './lossy-writer.js';

/** A file on a disk with the given number of bytes left. */
function disk(roomBytes: number): { text(): string; free(bytes: number): void; write(bytes: Uint8Array): number } {
  let room = roomBytes;
  let text = '';
  return {
    text: () => text,
    free: (bytes) => {
      room += bytes;
    },
    write: (bytes) => {
      if (room === 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      const part = Buffer.from(bytes).subarray(0, room);
      room -= part.length;
      text += part.toString();
      return part.length;
    },
  };
}

test('lines that find no room are dropped and counted, and the number is told when there is room again', () => {
  const full = disk(15);
  const log = new LossyWriter((bytes) => full.write(bytes));
  for (const line of ['first line\n', 'second line\n', 'third line\n']) log.write(line);
  expect(full.text()).toBe('first line\nseco');
  full.free(10_000);
  log.write('fourth line\n');
  const [, torn, notice, fourth] = full.text().split('\n');
  expect(torn).toBe('seco');
  expect(JSON.parse(notice!)).toMatchObject({ level: 40, msg: '2 log lines were lost: ENOSPC: no space left on device, write' });
  expect(fourth).toBe('fourth line');
});

test('a reader that has gone costs its lines only', () => {
  const log = new LossyWriter(() => {
    throw Object.assign(new Error('EPIPE: broken pipe'), { code: 'EPIPE' });
  });
  expect(() => log.write('a line\n')).not.toThrow();
});

test('a line is cut at a fixed length and stays JSON', () => {
  const long = JSON.stringify({ level: 30, msg: 'refused', method: '/a/b', name: 'x'.repeat(15_000_000) });
  const cut = cutLine(`${long}\n`);
  expect(cut.length).toBeLessThan(1_200);
  expect(JSON.parse(cut)).toMatchObject({ level: 30, msg: 'refused', name: expect.stringContaining('… (15000000 characters)') as string });
  const many = cutLine(`${JSON.stringify({ level: 30, msg: 'many', list: Array(5_000).fill('a text') })}\n`);
  expect(many.length).toBeLessThanOrEqual(LINE_CHARACTERS_MAX);
  expect(JSON.parse(many)).toMatchObject({ level: 30, msg: 'many' });
  expect(cutLine(`${'y'.repeat(100_000)}\n`).length).toBeLessThanOrEqual(LINE_CHARACTERS_MAX);
  expect(cutLine('{"msg":"short"}\n')).toBe('{"msg":"short"}\n');
});

test('a line acts upon no terminal that shows it, and says the same', () => {
  const place = disk(10_000);
  const msg = 'there is no run \u001b[2J\u009b31m\u202egnp';
  new LossyWriter((bytes) => place.write(bytes)).write(`${JSON.stringify({ level: 30, msg })}\n`);
  expect(place.text()).toMatch(/^[\u0020-\u007e]+\n$/);
  expect(JSON.parse(place.text())).toEqual({ level: 30, msg });
});
