// Tests what the holder of an engine and the listeners learn, for engines that follow a script. Times are short here.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError } from '#protocol';
import { EngineSupervisor, type Condition } from './engine-supervisor.js';
import { ScriptedConnector, ScriptedEngine } from './testing.js';

const log = { info: () => undefined, warn: () => undefined } as never;
const FAST = { healthIntervalMs: 1, intervalAfterMissMs: 1, healthTimeoutMs: 1_000, firstDelayMs: 1 };
const down = new EspalierError('ENGINE_UNAVAILABLE', 'nothing answers');

function supervised(answers: (ScriptedEngine | Error)[], isNamed = false, whenHeard: (condition: Condition) => void = () => undefined) {
  const connector = new ScriptedConnector(answers, isNamed);
  const supervisor = new EngineSupervisor(connector, { name: 'e', log, pace: FAST });
  const conditions: Condition[] = [supervisor.condition];
  supervisor.onChange(() => {
    if (conditions.at(-1) === supervisor.condition) return;
    conditions.push(supervisor.condition);
    whenHeard(supervisor.condition);
  });
  return { connector, supervisor, conditions };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1);
}

test('an engine is started when it is wanted, once, however many want it', async () => {
  const { connector, supervisor, conditions } = supervised([new ScriptedEngine()]);
  expect(supervisor.condition).toBe('absent');
  const [one, other] = await Promise.all([supervisor.acquire(), supervisor.acquire()]);
  expect(one).toBe(other);
  expect(connector.tries).toBe(1);
  expect(conditions).toEqual(['absent', 'starting', 'up']);
  await supervisor.stop();
});

test('its death is heard by who holds it, and the next who wants one gets another', async () => {
  const { connector, supervisor } = supervised([new ScriptedEngine()]);
  const engine = await supervisor.acquire();
  connector.die('killed by SIGKILL');
  await once(engine.lost, 'abort');
  expect(engine.lost.reason).toMatchObject({ code: 'ENGINE_LOST', message: expect.stringContaining('killed by SIGKILL') as string });
  expect(supervisor).toMatchObject({ condition: 'absent', losses: 1, problem: { code: 'ENGINE_LOST' } });
  expect(await supervisor.acquire()).not.toBe(engine);
  expect(connector.tries).toBe(2);
  await supervisor.stop();
});

test('one that misses health checks is shown as not responding, then given up as hung and cut', async () => {
  const { connector, supervisor, conditions } = supervised([new ScriptedEngine()]);
  const engine = await supervisor.acquire();
  connector.sick = new Error('no answer');
  await once(engine.lost, 'abort');
  expect(engine.lost.reason).toMatchObject({ code: 'ENGINE_HUNG' });
  expect(conditions).toEqual(['absent', 'starting', 'up', 'notResponding', 'absent']);
  expect(connector.ended).toEqual(['cut']);
});

test('one that dialled in and misses health checks is awaited for its lease, and then lost in place of hung', async () => {
  const { connector, supervisor } = supervised([new ScriptedEngine()]);
  const engine = await supervisor.acquire();
  connector.awaits = true;
  let checks = 0;
  Object.defineProperty(connector, 'sick', {
    get: () => {
      checks += 1;
      return new Error('no answer');
    },
  });
  await until(() => checks > 12);
  expect(engine.lost.aborted).toBe(false);
  connector.die('it did not come back within its lease');
  await once(engine.lost, 'abort');
  expect(engine.lost.reason).toMatchObject({ code: 'ENGINE_LOST' });
});

test('one that is late but at work is shown as not responding, and stays', async () => {
  const { connector, supervisor } = supervised([new ScriptedEngine()]);
  const engine = await supervisor.acquire();
  let [ranMs, waitedMs, asked] = [0, 0, 0];
  connector.use = () => {
    asked += 1;
    if (asked % 2 === 0) ranMs += 25;
    else waitedMs += 25; // the process would have run if others had not had the processors
    return { ranMs, waitedMs };
  };
  let beats = 0;
  supervisor.onHeartbeat(() => {
    beats += 1;
  });
  connector.sick = new Error('no answer in time');
  await until(() => asked > 12);
  expect(engine.lost.aborted).toBe(false);
  expect(supervisor.condition).toBe('notResponding');
  expect(beats).toBeGreaterThan(5);
  connector.use = () => ({ ranMs, waitedMs }); // from here on the process only sleeps
  await once(engine.lost, 'abort');
  expect(engine.lost.reason).toMatchObject({ code: 'ENGINE_HUNG' });
});

test('one that is heard of meanwhile has missed nothing', async () => {
  const engine = new ScriptedEngine();
  const { connector, supervisor } = supervised([engine]);
  const live = await supervisor.acquire();
  let checks = 0;
  Object.defineProperty(connector, 'sick', {
    get: () => {
      checks += 1;
      (engine.client as { heardAtMs: number }).heardAtMs = performance.now() + 0.001; // the engine reports a step during the health check
      return new Error('no answer in time');
    },
  });
  await until(() => checks > 10);
  expect(live.lost.aborted).toBe(false);
  await supervisor.stop();
});

test('one that answers again after a miss stays', async () => {
  const { connector, supervisor, conditions } = supervised([new ScriptedEngine()], false, (condition) => {
    if (condition === 'notResponding') connector.sick = null; // the engine recovers at once, since it would be given up otherwise
  });
  await supervisor.acquire();
  connector.sick = new Error('no answer');
  await until(() => conditions.at(-2) === 'notResponding');
  expect(conditions).toEqual(['absent', 'starting', 'up', 'notResponding', 'up']);
  expect(supervisor.losses).toBe(0);
  await supervisor.stop();
});

test('one that belongs to another now is given up at the first word of it', async () => {
  const { connector, supervisor } = supervised([new ScriptedEngine()], true);
  const engine = await supervisor.acquire();
  connector.sick = new EspalierError('ENGINE_ATTACHED_ELSEWHERE', 'it belongs to process 9');
  await once(engine.lost, 'abort');
  expect(engine.lost.reason).toMatchObject({ code: 'ENGINE_ATTACHED_ELSEWHERE' });
});

test('tries that fail are told of, and wait longer each time; health is forgotten trouble', async () => {
  const { connector, supervisor, conditions } = supervised([down, down, new ScriptedEngine()], true);
  await expect(supervisor.acquire()).rejects.toBe(down);
  expect(supervisor).toMatchObject({ condition: 'absent', failures: 1, problem: down });
  await expect(supervisor.acquire()).rejects.toBe(down);
  await supervisor.acquire();
  expect(conditions.join(' ')).toBe('absent starting absent waiting starting absent waiting starting up');
  await until(() => supervisor.failures === 0);
  expect(supervisor.problem).toBeNull();
  expect(connector.tries).toBe(3);
  await supervisor.stop();
});

test('what is let go is ended in good order, counts as no loss, and can be had again', async () => {
  const { connector, supervisor } = supervised([new ScriptedEngine()], true);
  const engine = await supervisor.acquire();
  await supervisor.letGo(new EspalierError('ENGINE_LOST', 'another drives'));
  expect(engine.lost.reason).toMatchObject({ message: 'another drives' });
  expect(connector.ended).toEqual(['ended in good order']);
  expect(supervisor).toMatchObject({ losses: 0, problem: null, condition: 'absent' });
  await supervisor.acquire();
  await supervisor.stop();
  await expect(supervisor.acquire()).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
});
