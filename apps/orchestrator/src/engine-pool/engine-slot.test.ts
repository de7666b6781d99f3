// Tests the status of a slot. Each test says what the slot's engine does, and whether the slot is wanted, taken or given back.
import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError } from '#protocol';
import { EngineSupervisor } from '../engines/engine-supervisor.js';
import { ScriptedConnector, ScriptedEngine } from '../engines/testing.js';
import { launched, Story } from '../pruning-run/testing.js';
import { EngineSlot, type SlotStatus } from './engine-slot.js';

const log = { info: () => undefined, warn: () => undefined } as never;
const FAST = { healthIntervalMs: 1, intervalAfterMissMs: 1, healthTimeoutMs: 1_000, firstDelayMs: 1 };
const artifacts = { open: () => Promise.reject(new Error('nothing is there')) } as never;
const work = { doing: 'steps 0 to 10', runId: 'aaaabbbbcccc' };

function slotOf(answers: (ScriptedEngine | Error)[], isNamed: boolean) {
  const connector = new ScriptedConnector(answers, isNamed);
  const supervisor = new EngineSupervisor(connector, { name: 'e', log, pace: FAST });
  const slot = new EngineSlot({ name: 'e', connector, supervisor, threads: 2, artifacts, bootId: 'this machine', log });
  const seen: SlotStatus[] = [slot.status];
  slot.onChange(() => {
    if (seen.at(-1) !== slot.status) seen.push(slot.status);
  });
  return { slot, connector, supervisor, seen };
}

const until = async (slot: EngineSlot, status: SlotStatus): Promise<void> => {
  for (const end = Date.now() + 120_000; slot.status !== status;) {
    if (Date.now() > end) throw new Error(`the slot is ${slot.status}, not ${status}`);
    await sleep(1);
  }
};

describe('a local engine', () => {
  it('is started for its first work, and is busy while it is taken', async () => {
    const { slot, seen } = slotOf([new ScriptedEngine()], false);
    expect(slot.view()).toMatchObject({ state: 'free', isUp: false });
    slot.occupy(work);
    expect(slot.doing).toBe('engine e to start');
    await slot.acquire();
    expect(slot).toMatchObject({ status: 'busy', doing: 'steps 0 to 10', runId: 'aaaabbbbcccc' });
    slot.leave();
    expect(seen).toEqual(['notStarted', 'starting', 'busy', 'idle']);
    expect(slot.view()).toMatchObject({ state: 'free', isUp: true, device: 'cpu', sharesFiles: true });
    await slot.stop();
  });
  it('frees the memory of its last work while it is idle, and only then', async () => {
    const engine = new ScriptedEngine();
    const { slot } = slotOf([engine], false);
    const run = new Story(launched({ totalSteps: 20, warmupSteps: 20 })).state;
    slot.occupy(work);
    await (await slot.workbench()).bringModel(run);
    await slot.freeMemory();
    expect(engine.asked).not.toContain('closeSession');
    slot.leave();
    await slot.freeMemory();
    expect(slot.status).toBe('idle');
    await (await slot.workbench()).bringModel(run);
    expect(engine.asked.filter((call) => call.endsWith('Session'))).toEqual(['openSession', 'closeSession', 'openSession']);
    await slot.stop();
  });
  it('is taken by one only', async () => {
    const { slot } = slotOf([new ScriptedEngine()], false);
    slot.occupy(work);
    expect(() => slot.occupy({ doing: 'an export', runId: '' })).toThrow(
      expect.objectContaining({ code: 'ENGINE_BUSY', message: 'engine e is taken: steps 0 to 10' }) as Error,
    );
    await slot.stop();
  });
  it('comes back by itself when it was well and died', async () => {
    const { slot, connector } = slotOf([new ScriptedEngine()], false);
    await slot.acquire();
    connector.die('killed by SIGKILL');
    while (slot.supervisor.losses === 0) await sleep(1);
    await until(slot, 'idle');
    expect([connector.tries, slot.supervisor.losses]).toEqual([2, 1]);
    await slot.stop();
  });
  it('that does not answer for a while is down for new work, and well again once it answers', async () => {
    const { slot, connector } = slotOf([new ScriptedEngine()], false);
    await slot.acquire();
    let meanwhile: object | null = null;
    slot.onChange(() => {
      if (slot.status !== 'notResponding') return;
      meanwhile = slot.view();
      connector.sick = null; // the engine recovers at once, since it would be given up otherwise
    });
    connector.sick = new Error('no answer');
    while (meanwhile === null) await sleep(1);
    expect(meanwhile).toMatchObject({ state: 'down', problem: 'is not responding' });
    await until(slot, 'idle');
    await slot.stop();
  });
});

describe('a named engine', () => {
  it('is claimed by who drives the runs, not before, and is given back', async () => {
    const { slot, connector, seen } = slotOf([new ScriptedEngine()], true);
    expect(slot.view()).toMatchObject({ state: 'down', isUp: false });
    expect(connector.tries).toBe(0);
    slot.keepAttached();
    await until(slot, 'idle');
    await slot.letGo();
    expect(seen).toEqual(['standby', 'starting', 'idle', 'standby']);
    expect(connector.ended).toContain('ended in good order');
  });
  it('is kept while it works, though another drives', async () => {
    const { slot } = slotOf([new ScriptedEngine()], true);
    slot.keepAttached();
    await until(slot, 'idle');
    slot.occupy(work);
    await slot.letGo();
    expect(slot.status).toBe('busy');
    await slot.stop();
  });
  it.each([
    ['ENGINE_UNAVAILABLE', 'unreachable'],
    ['ENGINE_OF_ANOTHER_USER', 'unreachable'],
    ['ENGINE_ATTACHED_ELSEWHERE', 'attachedElsewhere'],
  ] as const)('that refuses with %s is %s, and idle once it lets itself be claimed', async (code, status) => {
    const { slot } = slotOf([new EspalierError(code, 'not now'), new EspalierError(code, 'not now'), new ScriptedEngine()], true);
    const statuses: SlotStatus[] = [];
    slot.onChange(() => statuses.push(slot.status));
    slot.keepAttached();
    await until(slot, 'idle');
    expect(statuses).toContain(status);
    while (slot.supervisor.problem !== null) await sleep(1); // the engine has to live through some health checks
    await slot.stop();
  });
  it('needs its states sent where it runs on another machine', async () => {
    const { slot } = slotOf([new ScriptedEngine()], true);
    expect(slot.view().sharesFiles).toBe(false); // its machine is unknown
    slot.keepAttached();
    await until(slot, 'idle');
    expect(slot.view().sharesFiles).toBe(true);
    await slot.stop();
  });
});
