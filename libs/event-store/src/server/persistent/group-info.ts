import { persistentPb } from '../pb.js';
import type { Consumer } from './consumer.js';
import type { PersistentGroup } from './group.js';
import type { StartFrom } from './settings.js';
import { ALL } from './source.js';

const { SubscriptionInfo } = persistentPb;

/** A group's settings and statistics as GetInfo and List report them. */
export function infoOf(group: PersistentGroup): persistentPb.SubscriptionInfo {
  const { settings } = group.definition;
  const isAll = group.source.name === ALL;
  const place = (sequence: number | undefined) => (sequence === undefined ? '' : placeText(sequence, isAll));
  const connections = group.consumers.map((consumer) => connectionInfo(consumer, settings.extraStatistics));
  const info = new SubscriptionInfo();
  info.setEventSource(group.source.name);
  info.setGroupName(group.name);
  info.setStatus('Live');
  info.setConnectionsList(connections);
  info.setAveragePerSecond(connections.reduce((sum, connection) => sum + connection.getAverageItemsPerSecond(), 0));
  info.setTotalItems(String(group.totalItems));
  info.setCountSinceLastMeasurement(
    String(connections.reduce((sum, connection) => sum + Number(connection.getCountSinceLastMeasurement()), 0)),
  );
  info.setLastCheckpointedEventPosition(place(group.checkpointed));
  info.setLastKnownEventPosition(place(group.source.lastKnown()));
  info.setResolveLinkTos(settings.resolveLinks);
  info.setStartFrom(startText(settings.startFrom, isAll));
  info.setMessageTimeoutMilliseconds(settings.messageTimeoutMs);
  info.setExtraStatistics(settings.extraStatistics);
  info.setMaxRetryCount(settings.maxRetryCount);
  info.setLiveBufferSize(settings.liveBufferSize);
  info.setBufferSize(settings.historyBufferSize);
  info.setReadBatchSize(settings.readBatchSize);
  info.setCheckPointAfterMilliseconds(settings.checkpointAfterMs);
  info.setMinCheckPointCount(settings.minCheckpointCount);
  info.setMaxCheckPointCount(settings.maxCheckpointCount);
  info.setReadBufferCount(group.readyCount);
  info.setLiveBufferCount('0');
  info.setRetryBufferCount(group.retryCount);
  info.setTotalInFlightMessages(group.inFlightCount);
  info.setOutstandingMessagesCount(group.inFlightCount);
  info.setNamedConsumerStrategy(settings.strategy);
  info.setMaxSubscriberCount(settings.maxSubscriberCount);
  info.setParkedMessageCount(String(group.parked.count()));
  return info;
}

function connectionInfo(consumer: Consumer, extraStatistics: boolean): persistentPb.SubscriptionInfo.ConnectionInfo {
  const nowMs = Date.now();
  const seconds = Math.max(1, (nowMs - consumer.connectedAtMs) / 1000);
  const info = new SubscriptionInfo.ConnectionInfo();
  info.setFrom(consumer.peer);
  info.setUsername(consumer.userName);
  info.setConnectionName(consumer.connectionName);
  info.setAverageItemsPerSecond(Math.round(consumer.totalItems / seconds));
  info.setTotalItems(String(consumer.totalItems));
  info.setCountSinceLastMeasurement(String(consumer.totalItems - consumer.itemsAtLastMeasurement));
  consumer.itemsAtLastMeasurement = consumer.totalItems;
  info.setAvailableSlots(consumer.availableSlots);
  info.setInFlightMessages(consumer.inFlightCount);
  if (extraStatistics) {
    for (const [name, ms] of consumer.latencies.measurements()) {
      const measurement = new SubscriptionInfo.Measurement();
      measurement.setKey(name);
      measurement.setValue(String(ms));
      info.addObservedMeasurements(measurement);
    }
  }
  return info;
}

function startText(startFrom: StartFrom, isAll: boolean): string {
  return placeText(startFrom === 'start' ? 0 : startFrom === 'end' ? -1 : startFrom, isAll);
}

function placeText(sequence: number, isAll: boolean): string {
  return isAll ? `C:${sequence}/P:${sequence}` : String(sequence);
}
