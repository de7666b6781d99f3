// Makes the slots that the command line asks for.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { localEngine, type EngineConnector } from '../engines/engine-link.js';
import type { EngineProcessOptions } from '../engines/engine-process.js';
import { EngineSupervisor } from '../engines/engine-supervisor.js';
import { JoinedEngine } from '../engines/joined-engine.js';
import { namedEngine, type LeaseOptions } from '../engines/named-engine.js';
import type { Tallies } from '../monitoring/tallies.js';
import type { EnginePool } from './engine-pool.js';
import { EngineSlot } from './engine-slot.js';
import type { ArtifactsAtHand } from './engine-workbench.js';
import { JoinedEngines, type JoinedSlot } from './joined-engines.js';

export interface EnginesWanted {
  engines: number;
  namedEngines: readonly string[];
  devices: readonly string[];
  cards: number;
  threads: number;
  namedThreads: number | undefined;
  dataFolder: string;
  leaseSeconds: number;
}

export interface SlotContext {
  folderId: string;
  /** Whether this orchestrator drives the runs. */
  drives: () => boolean;
  artifacts: ArtifactsAtHand;
  tallies: Tallies;
  log: Logger;
}

/** Makes a slot around a connector. */
type SlotMaker = (name: string, connector: EngineConnector, threads?: number, device?: string) => EngineSlot;

function slotMaker({ artifacts, tallies, log }: SlotContext): SlotMaker {
  const bootId = ownBootId();
  return (name, connector, threads, device) => {
    const onLoss = (): void => {
      if (connector.joined?.leftInOrder !== true) tallies.engineLosses.inc();
    };
    return new EngineSlot({
      name,
      connector,
      supervisor: new EngineSupervisor(connector, { name, log, onLoss }),
      threads,
      device,
      artifacts,
      bootId,
      log,
    });
  };
}

/** Names the devices of one engine. With the device `auto`, several engines share the usable cards among them. */
function processDevice({ engines, devices, cards }: EnginesWanted, device: string, index: number): string {
  if (device !== 'auto' || devices.length > 1 || engines * cards === 1) return device;
  return Array.from({ length: cards }, (_, card) => `auto:${index * cards + card}`).join('+');
}

/** How an engine process is started on this machine, both for training and for verification. */
export function processOptions(
  { dataFolder }: Pick<EnginesWanted, 'dataFolder'>,
  name: string,
  log: Logger,
): Omit<EngineProcessOptions, 'device' | 'threads'> {
  return { folder: join(dataFolder, 'engine'), onOutput: (line) => log.info({ engine: line, slot: name }, 'engine') };
}

/** Returns the slots of local engines, then those of named engines in the order of their names on the command line. */
export function engineSlots(wanted: EnginesWanted, context: SlotContext): EngineSlot[] {
  const slot = slotMaker(context);
  const local = Array.from({ length: wanted.engines }, (_, index) => {
    const name = `local-${index + 1}`;
    const device = wanted.devices[index] ?? wanted.devices[0]!;
    const started = { device: processDevice(wanted, device, index), threads: wanted.threads };
    return slot(name, localEngine({ ...processOptions(wanted, name, context.log), ...started }), wanted.threads, device);
  });
  const lease = leaseOptions(wanted, context);
  const named = wanted.namedEngines.map((address) => slot(address, namedEngine({ address, ...lease }), wanted.namedThreads));
  return [...local, ...named];
}

/** The engines that dial in. A session on one has as many threads as the engine was started with. */
export function joinedEngines(wanted: EnginesWanted, context: SlotContext, pool: EnginePool): JoinedEngines {
  const slot = slotMaker(context);
  const options = { ...leaseOptions(wanted, context), folder: join(wanted.dataFolder, 'engine') };
  const make = (name: string, changed: () => void): JoinedSlot => {
    const engine = new JoinedEngine(options, () => {
      joined.slot.supervisor.notify();
      changed();
    });
    const joined = { engine, slot: slot(name, engine) };
    return joined;
  };
  return new JoinedEngines(pool, make, context.log);
}

function leaseOptions({ leaseSeconds }: EnginesWanted, { folderId, drives }: SlotContext): LeaseOptions {
  return { leaseMs: leaseSeconds * 1_000, folderId, mayRenew: drives };
}

function ownBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
