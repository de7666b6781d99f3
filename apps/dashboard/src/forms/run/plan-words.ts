// Describes the server's plan: what a run would take, and whether that fits.
import { targetWithBudget } from '../../../../../libs/comparison/src/index.js';
import type { Trouble } from '../../api/view-state.js';
import type { MemoryChange, PlanRunResponse } from '../../generated/espalier/v1/run_service_pb.js';
import { bytes, count, duration, NONE } from '../../ui/format.js';
import { formTroubles } from '../form-troubles.js';

/** The state from which a fork begins. */
export interface ForkStart {
  step: number;
  expectedSparsity: number;
}

export interface PlanFact {
  term: string;
  value: string;
  /** The machine or the settings offer too little of it. */
  isShort?: boolean;
}

/** The plan that a form shows. `trouble` says why the plan is missing or out of date. */
export interface Planned {
  plan: PlanRunResponse | undefined;
  trouble: Trouble | undefined;
}

/** A refusal ends the plan of the values before it. A failure that passes leaves it, since the plan is asked for again. */
export const afterFailure = ({ plan }: Planned, trouble: Trouble): Planned => ({ plan: trouble.isPassing ? plan : undefined, trouble });

/** Names each refused field, because a field may lie in a closed section of the form. Returns '' where there is a plan. */
export function noPlanWords({ plan, trouble }: Planned): string {
  return plan !== undefined || trouble === undefined ? '' : `No plan: ${formTroubles(trouble, []).rest}`;
}

export function planFacts(plan: PlanRunResponse | undefined, start: ForkStart | null): PlanFact[] {
  const { memory, disk, settings } = plan ?? {};
  const steps = (settings?.totalSteps ?? 0) + (settings?.recoverSteps ?? 0);
  const left = Math.max(0, steps - (start?.step ?? 0));
  const time = plan?.estimatedSeconds === undefined || steps === 0 ? undefined : (plan.estimatedSeconds * left) / steps;
  const hasNoSteps = plan !== undefined && left === 0;
  const teachers = plan === undefined || hasNoSteps ? 0 : teachersLeft(plan, start);
  const onDisk = disk === undefined ? 0 : start === null ? Number(disk.totalBytes) : Number(disk.stateBytes) * (teachers + LAST_STATES);
  const isDiskShort = disk?.availableBytes !== undefined && onDisk > Number(disk.availableBytes);
  const diskRoom = disk?.availableBytes === undefined ? '' : ` of ${bytes(disk.availableBytes)}`;
  const isMemoryShort = memory !== undefined && !fits(plan!);
  return [
    {
      term: 'Parameters',
      value: plan === undefined ? NONE : `${count(plan.parameterCount)}, ${count(plan.prunableParameterCount)} prunable`,
    },
    { term: 'Result', value: plan === undefined ? NONE : resultWords(plan) },
    { term: 'Target', value: settings === undefined ? NONE : targetWithBudget(settings, 1) },
    { term: 'Steps', value: settings === undefined ? NONE : stepWords(steps, start), isShort: hasNoSteps },
    { term: 'Teachers', value: disk === undefined ? NONE : start === null ? count(teachers) : `${count(teachers)} more` },
    {
      term: 'Time',
      value:
        plan === undefined || hasNoSteps ? NONE : time === undefined ? 'not known: no run here was like it' : `about ${duration(time)}`,
    },
    {
      term: 'Memory',
      value:
        memory === undefined
          ? NONE
          : `${bytes(memory.totalBytes)} of ${bytes(memory.availableBytes)}${isMemoryShort ? ': does not fit' : ''}`,
      isShort: isMemoryShort,
    },
    {
      term: 'Disk',
      value: disk === undefined ? NONE : `${bytes(onDisk)}${diskRoom}${isDiskShort ? ': does not fit' : ''}`,
      isShort: isDiskShort,
    },
    { term: 'Engine', value: plan?.engine || NONE },
  ];
}

/** Says how many steps a run takes, and which settings give more to a fork that would begin where its steps end. */
function stepWords(steps: number, start: ForkStart | null): string {
  if (start === null) return count(steps);
  const { step } = start;
  if (step >= steps) return `none after step ${count(step)}: raise total steps or recover steps`;
  return `${count(steps - step)}, from step ${count(step)} to ${count(steps)}`;
}

/** A plan has no result where the target is in seconds, since these do not tell how many parameters go. */
const resultWords = ({ result }: PlanRunResponse): string =>
  result === undefined ? 'a size that shows in the run' : `about ${count(result.parameterCount)} parameters`;

/** The states that are kept besides the snapshots: the current one and the one before it. */
const LAST_STATES = 2;
const ROUNDING = 1e-9;

/** The number of snapshots that a run still makes. A fork has the snapshots below its beginning already. */
function teachersLeft({ disk, settings }: PlanRunResponse, start: ForkStart | null): number {
  const all = disk?.teachers ?? 0;
  const interval = settings?.snapshotInterval ?? 0;
  if (start === null || interval <= 0) return all;
  return Math.max(0, all - Math.floor(start.expectedSparsity / interval + ROUNDING));
}

function fits({ memory }: Pick<PlanRunResponse, 'memory'>): boolean {
  return memory === undefined || (memory.totalBytes <= memory.availableBytes && memory.hostBytes <= memory.hostAvailableBytes);
}

/** Names the settings that would make the run fit; '' where it fits. */
export function remedyWords(plan: PlanRunResponse): string {
  if (fits(plan)) return '';
  const change = plan.memory?.change;
  if (change === undefined) return 'It does not fit in memory, and no shorter sequences would.';
  return `It does not fit in memory: ${bytes(change.totalBytes)} would, with ${changes(change, plan).join(', ')}.`;
}

function changes(change: MemoryChange, { settings }: PlanRunResponse): string[] {
  return [
    ...(change.checkpointActivations && settings?.checkpointActivations !== true ? ['checkpoint activations'] : []),
    ...(change.streamWeights && settings?.streamWeights !== true ? ['stream weights'] : []),
    ...(change.microShards === settings?.microShards ? [] : [`micro shards ${change.microShards}`]),
    ...(change.sequenceLength === settings?.sequenceLength ? [] : [`sequence length ${change.sequenceLength}`]),
  ];
}
