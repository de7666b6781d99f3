import type { FilterDefinition } from '../event-filter.js';
import { persistentPb } from '../pb.js';
import { InvalidArgument } from '../refusals.js';

const STRATEGIES = ['DispatchToSingle', 'RoundRobin', 'Pinned', 'PinnedByCorrelation'] as const;
export type StrategyName = (typeof STRATEGIES)[number];

/** Where a new group starts, as the client said it. Numbers are inclusive. */
export type StartFrom = 'start' | 'end' | number;

export interface GroupSettings {
  resolveLinks: boolean;
  extraStatistics: boolean;
  messageTimeoutMs: number;
  maxRetryCount: number;
  checkpointAfterMs: number;
  minCheckpointCount: number;
  maxCheckpointCount: number;
  /** 0 means any number. */
  maxSubscriberCount: number;
  liveBufferSize: number;
  readBatchSize: number;
  historyBufferSize: number;
  strategy: StrategyName;
  startFrom: StartFrom;
}

/** The part of a group that is stored. */
export interface GroupDefinition {
  settings: GroupSettings;
  /** Only of groups on $all. */
  filter?: FilterDefinition;
  /** "end" made concrete when the group was created: first revision or position to deliver. */
  firstToDeliver: number;
}

const TICKS_PER_MS = 10_000;
const LARGEST_UINT64 = '18446744073709551615';

type SettingsMessage = persistentPb.CreateReq.Settings | persistentPb.UpdateReq.Settings;

export function settingsOf(message: SettingsMessage | undefined, startFrom: StartFrom): GroupSettings {
  if (!message) throw new InvalidArgument('settings: a persistent subscription needs them');
  return {
    resolveLinks: message.getResolveLinks(),
    extraStatistics: message.getExtraStatistics(),
    messageTimeoutMs: message.hasMessageTimeoutTicks()
      ? Number(message.getMessageTimeoutTicks()) / TICKS_PER_MS
      : message.getMessageTimeoutMs(),
    maxRetryCount: message.getMaxRetryCount(),
    checkpointAfterMs: message.hasCheckpointAfterTicks()
      ? Number(message.getCheckpointAfterTicks()) / TICKS_PER_MS
      : message.getCheckpointAfterMs(),
    minCheckpointCount: message.getMinCheckpointCount(),
    maxCheckpointCount: message.getMaxCheckpointCount(),
    maxSubscriberCount: message.getMaxSubscriberCount(),
    liveBufferSize: message.getLiveBufferSize(),
    readBatchSize: message.getReadBatchSize(),
    historyBufferSize: message.getHistoryBufferSize(),
    strategy: strategyOf(message),
    startFrom,
  };
}

function strategyOf(message: SettingsMessage): StrategyName {
  const named = message instanceof persistentPb.CreateReq.Settings ? message.getConsumerStrategy() : '';
  if (!named) return STRATEGIES[message.getNamedConsumerStrategy()] ?? 'RoundRobin';
  const known = STRATEGIES.find((strategy) => strategy === named);
  if (!known) {
    throw new InvalidArgument(`consumer_strategy: "${named}" is not known; allowed are ${STRATEGIES.join(', ')}`);
  }
  return known;
}

interface StreamStartMessage {
  hasRevision(): boolean;
  getRevision(): string;
  hasEnd(): boolean;
}

/** Clients before 21.10 put the revision into the settings; the official client still does. */
export function streamStart(stream: StreamStartMessage | undefined, settings: SettingsMessage | undefined): StartFrom {
  if (stream?.hasEnd()) return 'end';
  if (stream?.hasRevision()) return startOfText(stream.getRevision());
  if (stream) return 'start';
  return startOfText(settings?.getRevision() ?? '0');
}

function startOfText(text: string): StartFrom {
  if (text === LARGEST_UINT64 || text === '-1') return 'end';
  return text === '0' ? 'start' : Number(text);
}

interface AllStartMessage {
  getPosition(): { getCommitPosition(): string } | undefined;
  hasEnd(): boolean;
}

export function allStart(all: AllStartMessage): StartFrom {
  const position = all.getPosition();
  if (position) return Number(position.getCommitPosition());
  return all.hasEnd() ? 'end' : 'start';
}
