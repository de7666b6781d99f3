// Describes the server's plan: what a run would take, and whether that fits.
import { targetWithBudget, timeWords } from '../../../../../libs/comparison/src/index.js';
import type { Trouble } from '../../api/view-state.js';
import { RecoverWeights } from '../../generated/espalier/v1/common_pb.js';
import type { MemoryChange, PlanRunResponse } from '../../generated/espalier/v1/run_service_pb.js';
import { bytes, count, duration, LOADING, NONE } from '../../ui/format.js';
import { formTroubles } from '../form-troubles.js';

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

/** The facts of a plan. Without one they are not known yet, or there are none if the plan was refused. */
export function planFacts({ plan, trouble }: Planned): PlanFact[] {
  const missing = trouble?.isPassing !== false ? LOADING : NONE;
  const { memory, disk, settings, forkedAtStep } = plan ?? {};
  const isDiskShort = disk?.availableBytes !== undefined && disk.totalBytes > disk.availableBytes;
  const diskRoom = disk?.availableBytes === undefined ? '' : ` of ${bytes(disk.availableBytes)}`;
  const isMemoryShort = memory !== undefined && !fits(plan!);
  return [
    {
      term: 'Parameters',
      value: plan === undefined ? missing : `${count(plan.parameterCount)}, ${count(plan.prunableParameterCount)} prunable`,
    },
    { term: 'Result', value: plan === undefined ? missing : resultWords(plan) },
    { term: 'Target', value: settings === undefined ? missing : targetWithBudget(settings, 1) },
    { term: 'Steps', value: plan === undefined ? missing : stepWords(plan) },
    {
      term: 'Teachers',
      value:
        disk === undefined ? missing : `${disk.isMost ? 'up to ' : ''}${count(disk.teachers)}${forkedAtStep === undefined ? '' : ' more'}`,
    },
    {
      term: 'Time',
      value: plan === undefined ? missing : durationWords(plan),
    },
    {
      term: 'Memory',
      value:
        memory === undefined
          ? missing
          : `${bytes(memory.totalBytes)} of ${bytes(memory.availableBytes)}${isMemoryShort ? ': does not fit' : ''}`,
      isShort: isMemoryShort,
    },
    {
      term: 'Disk',
      value:
        disk === undefined
          ? missing
          : `${disk.isMost ? 'at most ' : ''}${bytes(disk.totalBytes)}${diskRoom}${isDiskShort ? ': does not fit' : ''}`,
      isShort: isDiskShort,
    },
    { term: 'Engine', value: plan === undefined ? missing : plan.engine || NONE },
  ];
}

function stepWords({ settings, stepsToChoose, estimatedSteps, forkedAtStep }: PlanRunResponse): string {
  const known = estimatedSteps === undefined ? '' : `, at most about ${count(estimatedSteps)}`;
  if (stepsToChoose) return `chosen at the start${known}`;
  const { totalSteps = 0, recoverSteps = 0 } = settings!;
  const end = totalSteps + recoverSteps;
  if (forkedAtStep === undefined) return count(end);
  return `${count(end - Number(forkedAtStep))}, from step ${count(forkedAtStep)} to ${count(end)}`;
}

function durationWords({ settings, stepsToChoose, estimatedSeconds: seconds }: PlanRunResponse): string {
  if (stepsToChoose) return timeWords(settings?.time ?? 0);
  return seconds === undefined ? 'not known: no run here was like it' : `about ${duration(seconds)}`;
}

/** A plan has no result where the target is in seconds, since these do not tell how many parameters go. */
const resultWords = ({ result }: PlanRunResponse): string =>
  result === undefined ? 'a size that shows in the run' : `about ${count(result.parameterCount)} parameters`;

function fits({ memory }: Pick<PlanRunResponse, 'memory'>): boolean {
  return memory === undefined || (memory.totalBytes <= memory.availableBytes && memory.hostBytes <= memory.hostAvailableBytes);
}

/** Names the settings that would make the run fit; '' where it fits. */
export function remedyWords(plan: PlanRunResponse): string {
  if (fits(plan)) return '';
  const change = plan.memory?.change;
  if (plan.forkedAtStep !== undefined) return 'It does not fit in memory, and a fork keeps the batch and the length of its parent.';
  if (change === undefined) return 'It does not fit in memory, and neither shorter sequences nor recovery by LoRA would.';
  return `It does not fit in memory: ${bytes(change.totalBytes)} would, with ${changes(change, plan).join(', ')}.`;
}

function changes(change: MemoryChange, { settings }: PlanRunResponse): string[] {
  return [
    ...(change.checkpointActivations && settings?.checkpointActivations !== true ? ['checkpoint activations'] : []),
    ...(change.streamWeights && settings?.streamWeights !== true ? ['stream weights'] : []),
    ...(change.microShards === settings?.microShards ? [] : [`micro shards ${change.microShards}`]),
    ...(change.sequenceLength === settings?.sequenceLength ? [] : [`sequence length ${change.sequenceLength}`]),
    ...(change.recoverWeights !== RecoverWeights.UNSPECIFIED && change.recoverWeights !== settings?.recoverWeights
      ? [`recover weights ${RecoverWeights[change.recoverWeights].toLowerCase()}`]
      : []),
  ];
}
