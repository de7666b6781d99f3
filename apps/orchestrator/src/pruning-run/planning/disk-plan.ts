// Plans how much of the disk a run's states will take, before the run is launched.
import { byteWords } from '#comparison';
import { counted, type engineV1, type v1 } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';
import type { SettingsWarning } from './target-sparsity.js';
import { VIEWS_JOURNAL_BYTES } from '../../event-sourcing/read-models/journal-size.js';
import { endStepOf } from '../method/phases.js';
import { snapshotsTaken, type RunToTrain } from '../method/teacher-policy.js';

/**
 * The bytes of events and views. The files grow by about so much for each step and each snapshot, and the journal of the views by so much
 * for each step, until it is full.
 */
const RECORD_BYTES = { ofStep: 600, ofSnapshot: 4_096, journalOfStep: 24_000, journal: VIEWS_JOURNAL_BYTES };

/** The run keeps its last state and the one before it. */
const STATES_BESIDES_TEACHERS = 2n;

/**
 * @param availableBytes the free bytes on the disk of the artifacts, or undefined where they are not known
 * @param fork the planned fork, whose first state and teachers are stored already; left out for a launch
 * @param stepsToChoose whether the number of steps is not known yet. Few steps take fewer snapshots than there are marks
 */
export function diskPlan(
  settings: RunSettings,
  memory: engineV1.PlanMemoryResponse,
  availableBytes: bigint | undefined,
  { fork, stepsToChoose = false }: { fork?: RunToTrain | undefined; stepsToChoose?: boolean } = {},
): v1.DiskPlan {
  const { stateBytes, ownStateBytes } = memory;
  const { likely, most, inAll } = snapshotsTaken(settings, fork);
  const teachers = stepsToChoose ? inAll : most;
  const steps = stepsToChoose ? 0 : endStepOf(settings) - (fork?.current?.step ?? 0);
  const journal = Math.min(RECORD_BYTES.journal, steps * RECORD_BYTES.journalOfStep);
  const recordBytes = BigInt(steps * RECORD_BYTES.ofStep + teachers * RECORD_BYTES.ofSnapshot + journal);
  // Where own weights learn from the first step on, no state has LoRA.
  const hasLora = ownStateBytes === 0n || (fork?.current?.step ?? 0) < settings.totalSteps;
  const lastState = larger(hasLora ? stateBytes : 0n, ownStateBytes);
  return {
    stateBytes,
    teachers,
    recordBytes,
    totalBytes: stateBytes * BigInt(teachers) + STATES_BESIDES_TEACHERS * lastState + recordBytes,
    availableBytes,
    isMost: stepsToChoose || most > likely,
  };
}

const larger = (left: bigint, right: bigint): bigint => (left > right ? left : right);

export function diskWarnings({ teachers, totalBytes, availableBytes: free, isMost }: v1.DiskPlan): SettingsWarning[] {
  if (free === undefined || totalBytes <= free) return [];
  const most = (words: string): string => (isMost ? `${words} ` : '');
  const message =
    `${most('up to')}${counted(teachers, 'snapshot takes', 'snapshots take')} ${most('at most')}${byteWords(totalBytes)}, ` +
    `and the disk of the artifacts has ${byteWords(free)} free: ` +
    'a larger snapshot_interval or a lower lora_rank takes less';
  return [{ code: 'DISK_TOO_SMALL', field: 'settings.snapshot_interval', message }];
}
