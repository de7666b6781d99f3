// Describes the server's state: its engines, its disk, and what needs a person's attention.
import { timestampDate } from '@bufbuild/protobuf/wkt';
import { EngineStatus, type Engine } from '../generated/espalier/v1/engine_service_pb.js';
import { bytes, count } from '../ui/format.js';

export const engineWord = (status: EngineStatus): string => EngineStatus[status].toLowerCase().replaceAll('_', ' ');

export function engineTone(status: EngineStatus): string {
  switch (status) {
    case EngineStatus.IDLE:
    case EngineStatus.BUSY:
      return 'good';
    case EngineStatus.NOT_RESPONDING:
    case EngineStatus.UNREACHABLE:
    case EngineStatus.ATTACHED_ELSEWHERE:
      return 'bad';
    case EngineStatus.STARTING:
    case EngineStatus.RESTARTING:
      return 'wait';
    default:
      return 'quiet';
  }
}

/** Returns facts about an engine for which the table has no room. */
export function engineNotes(engine: Engine, now = Date.now()): string[] {
  const { doing, waitingJobs, heldBy, heldUntil, problem, status, losses } = engine;
  const left = heldUntil === undefined ? 0 : Math.max(0, Math.round((timestampDate(heldUntil).getTime() - now) / 1_000));
  return [
    doing,
    waitingJobs === 0 ? '' : `${count(waitingJobs)} more ${waitingJobs === 1 ? 'waits' : 'wait'} for it`,
    heldBy === '' ? '' : `belongs to the orchestrator in ${heldBy}, for ${left} s more unless that renews its lease`,
    heldBy === '' && problem !== undefined && status !== EngineStatus.STANDBY ? `last problem: ${problem.message} (${problem.code})` : '',
    losses === 0 ? '' : `lost ${losses === 1 ? 'once' : `${count(losses)} times`} since the server started`,
  ].filter((words) => words !== '');
}

const LOW_BYTES = 2n << 30n;

export const isDiskLow = (availableBytes: bigint | undefined): boolean => availableBytes !== undefined && availableBytes < LOW_BYTES;

export interface Alert {
  words: string;
  /** The view with more about the alert; '': a reload of the page mends it. */
  to: string;
  /** The runs that the alert is about, if it may be dismissed. */
  runs?: string[];
}

interface Condition {
  engines?: readonly Engine[] | undefined;
  /** Describes the events that the store lacks; '': none. */
  missing?: string | undefined;
  /** Describes the problem with the bucket; '': the bucket answers. */
  artifactTrouble?: string | undefined;
  damagedRuns?: number | undefined;
  availableBytes?: bigint | undefined;
}

/** Returns the alerts, the most urgent first. Unknown conditions give no alert. */
export function alertsOf({ engines = [], missing = '', artifactTrouble = '', damagedRuns = 0, availableBytes }: Condition): Alert[] {
  const down = engines.filter(({ status }) => [EngineStatus.NOT_RESPONDING, EngineStatus.UNREACHABLE].includes(status));
  return [
    ...[missing, artifactTrouble]
      .filter((words) => words !== '')
      .map((words) => ({ words: words.charAt(0).toUpperCase() + words.slice(1), to: '/server' })),
    ...(damagedRuns === 0
      ? []
      : [
          {
            words: damagedRuns === 1 ? 'The record of a run is damaged' : `The records of ${count(damagedRuns)} runs are damaged`,
            to: '/?status=damaged',
          },
        ]),
    ...(isDiskLow(availableBytes) ? [{ words: `The disk is nearly full: ${bytes(availableBytes!)} free`, to: '/server' }] : []),
    ...down.map(({ name, status }) => ({ words: `Engine ${name}: ${engineWord(status)}`, to: '/server' })),
  ];
}
