// Tests which engines are lent for a verification, and in which order, with engines that follow a script.
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineSupervisor } from '../engines/engine-supervisor.js';
import { ScriptedConnector, ScriptedEngine } from '../engines/testing.js';
import { EnginePool } from './engine-pool.js';
import { EngineSlot } from './engine-slot.js';
import { engineLender } from './verification-engine.js';

const log = { info: () => undefined, warn: () => undefined } as never;
const FAST = { healthIntervalMs: 1, intervalAfterMissMs: 1, healthTimeoutMs: 1_000, firstDelayMs: 1 };
let pool: EnginePool;
afterEach(() => pool.stop());

async function joined(...names: string[]): Promise<EngineSlot[]> {
  const slots = names.map((name) => {
    const connector = new ScriptedConnector([new ScriptedEngine()], true);
    const supervisor = new EngineSupervisor(connector, { name, log, pace: FAST });
    return new EngineSlot({ name, connector, supervisor, threads: 2, artifacts: {} as never, bootId: '', log });
  });
  pool = new EnginePool(slots);
  pool.claimAll();
  for (const slot of slots) while (slot.status !== 'idle') await sleep(1);
  return slots;
}

/** Asks for one engine after another. @returns each with what was lent meanwhile */
async function lent(engineName: string): Promise<unknown[]> {
  const before = { threads: 2, device: 'cpu', engineName };
  const seen: unknown[] = [];
  for await (const { name, isOther, isLast } of engineLender(pool, null)(before, new AbortController().signal))
    seen.push({ name, isOther, isLast, taken: pool.slots.filter(({ isTaken }) => isTaken).map((slot) => slot.name) });
  return seen;
}

test('other engines than the one that trained are lent first, each given back before the next; the trainer comes last', async () => {
  const slots = await joined('trainer', 'one', 'two');
  expect(await lent('trainer')).toEqual([
    { name: 'one', isOther: true, isLast: false, taken: ['one'] },
    { name: 'two', isOther: true, isLast: false, taken: ['two'] },
    { name: 'trainer', isOther: false, isLast: true, taken: ['trainer'] },
  ]);
  expect(slots.map(({ status }) => status)).toEqual(['idle', 'idle', 'idle']);
});

test('where there is no other engine, the trainer checks itself and is named as such', async () => {
  await joined('trainer');
  expect(await lent('trainer')).toEqual([{ name: 'trainer', isOther: false, isLast: true, taken: ['trainer'] }]);
});

test('an engine that works, or that is set aside, is not lent', async () => {
  const [busy, aside] = await joined('busy', 'aside', 'good');
  busy!.occupy({ doing: 'steps 0 to 10', runId: 'aaaabbbbcccc' });
  aside!.setAside(Object.assign(new Error('it lied'), { code: 'RESULT_CONTRADICTS_STATE' }) as never, { forGood: true });
  expect(await lent('good')).toMatchObject([{ name: 'good', isOther: false, isLast: true }]);
  busy!.leave();
});

test('where every engine works, the refusal says so', async () => {
  const [busy] = await joined('busy');
  busy!.occupy({ doing: 'steps 0 to 10', runId: 'aaaabbbbcccc' });
  await expect(lent('busy')).rejects.toMatchObject({
    code: 'ENGINE_BUSY',
    message: 'no engine is free (busy is busy); replay when one is',
  });
  busy!.leave();
});
