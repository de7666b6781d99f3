// Tests what `up` says about the engines of the server that it started.
import { v1 } from '#protocol';
import { problemsOf } from './engine-problems.js';

const { ENGINE_STATUS_IDLE, ENGINE_STATUS_NOT_STARTED, ENGINE_STATUS_UNREACHABLE } = v1.EngineStatus;
const engine = (part: Partial<v1.Engine>): v1.Engine => v1.Engine.fromPartial(part);
const local = (index: number, threads: number): v1.Engine =>
  engine({ name: `local-${index}`, local: true, threads, status: ENGINE_STATUS_NOT_STARTED });

test('local engines with more threads than there are cores are told of; named ones have cores of their own', () => {
  expect(problemsOf([local(1, 2), local(2, 2)], 4)).toEqual([]);
  expect(problemsOf([local(1, 2), local(2, 2)], 2)).toEqual([
    '2 engines with 2 threads each are more than the 2 cores: they slow each other down',
  ]);
  expect(problemsOf([local(1, 2), engine({ name: 'far:1', threads: 64, status: ENGINE_STATUS_IDLE })], 2)).toEqual([]);
});

test('a named engine that does not answer is named, with the reason', () => {
  const problem = { code: 'ENGINE_UNAVAILABLE', message: 'no engine answers at 127.0.0.1:1: refused', field: '' };
  expect(problemsOf([engine({ name: '127.0.0.1:1', status: ENGINE_STATUS_UNREACHABLE, problem })], 2)).toEqual([
    "engine 127.0.0.1:1 can't be used now: no engine answers at 127.0.0.1:1: refused",
  ]);
});
