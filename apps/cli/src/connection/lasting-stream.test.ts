// Tests a server that is restarted: clients that wait for it go on with it, and with no other server.
import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '#protocol';
import { CliError } from '../cli-error.js';
import { lastingStream } from './lasting-stream.js';
import { findServer } from './server-address.js';

let dataFolder: string;
const announce = (announcement: object): void => writeFileSync(join(dataFolder, 'espalier.json'), JSON.stringify(announcement));
beforeEach(() => {
  dataFolder = mkdtempSync(join(tmpdir(), 'lasting-stream-'));
});
afterEach(() => rmSync(dataFolder, { recursive: true }));

/** Follows a stream whose attempts get the given answers in turn. Returns the addresses that were asked, and the messages that came. */
async function follow(answers: (() => void)[], server?: string): Promise<{ asked: string[]; heard: string[] }> {
  const asked: string[] = [];
  const heard: string[] = [];
  const items = lastingStream<string>({
    findServer: () => findServer({ dataFolder, server }),
    isOver: () => asked.length >= answers.length,
    open: async function* (connection) {
      asked.push(connection.server.address);
      const answer = answers[asked.length - 1]!;
      if (asked.length === 1 || asked.length === answers.length) yield `message ${asked.length}`;
      answer();
    },
  });
  try {
    for await (const item of items) {
      heard.push(item.kind === 'message' ? item.message : item.kind);
      if (item.kind === 'disconnected') whenLost();
    }
  } catch (error) {
    heard.push((error as EspalierError).code);
  }
  return { asked, heard };
}
let whenLost: () => void = () => undefined;
afterEach(() => (whenLost = () => undefined));

const dies = (): never => {
  throw new CliError('SERVER_UNAVAILABLE', 'no server answers');
};
const asksForItsToken = (): never => {
  throw new EspalierError('TOKEN_NEEDED', 'a call needs its token');
};
const ends = (): void => undefined;

test('a server that has begun to start and has no address yet is waited for, and no other server is asked', async () => {
  announce({ listen: '127.0.0.1:7501', pid: process.pid });
  whenLost = () => {
    announce({ pid: process.pid });
    setTimeout(() => announce({ listen: '127.0.0.1:7502', pid: process.pid }), 400);
  };
  expect(await follow([dies, ends])).toEqual({
    asked: ['127.0.0.1:7501', '127.0.0.1:7502'],
    heard: ['message 1', 'disconnected', 'reconnected', 'message 2'],
  });
});

test('one that was stopped is waited for, though another listens at the default address', async () => {
  announce({ listen: '127.0.0.1:7501', pid: process.pid });
  whenLost = () => {
    unlinkSync(join(dataFolder, 'espalier.json'));
    setTimeout(() => announce({ listen: '127.0.0.1:7502', pid: process.pid }), 400);
  };
  expect((await follow([dies, ends])).asked).toEqual(['127.0.0.1:7501', '127.0.0.1:7502']);
});

test('a refused token does not end the waiting, since the server has another one soon; without a data folder it does', async () => {
  announce({ listen: '127.0.0.1:7501', pid: process.pid });
  expect((await follow([dies, asksForItsToken, ends])).heard).toEqual(['message 1', 'disconnected', 'reconnected', 'message 3']);
  expect((await follow([dies, asksForItsToken, ends], '127.0.0.1:7999')).heard).toEqual(['message 1', 'disconnected', 'TOKEN_NEEDED']);
});

test('too many calls at once, as when all come back together, pass', async () => {
  announce({ listen: '127.0.0.1:7501', pid: process.pid });
  const refuses = (): never => {
    throw new EspalierError('TOO_MANY_CALLS', 'no more than 64');
  };
  expect((await follow([dies, refuses, ends])).heard.at(-1)).toBe('message 3');
});
