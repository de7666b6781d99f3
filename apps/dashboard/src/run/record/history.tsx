// The record itself: every event, the newest first, in words and as it is stored.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { historyService, isAbort, troubleOf, type Trouble } from '../../api/client.js';
import { useReturn } from '../../api/live.js';
import { retryDelayMs } from '../../api/view-state.js';
import type { HistoryEvent } from '../../generated/espalier/v1/history_service_pb.js';
import { time } from '../../ui/format.js';
import { Pending, TroubleNote } from '../../ui/pending.js';
import { setQuery } from '../../ui/router.js';
import { Life } from './life.js';
import type { TabProps } from '../tab-props.js';

const PAGE_SIZE = 100;
const CHOICES = [
  'TeacherAssigned',
  'TeacherSnapshotted',
  'MasksUpdated',
  'SparsityAdvanced',
  'EngineAttached',
  'EngineLost',
  'StepsSkipped',
  'RunPaused',
  'RunResumed',
  'RunRewound',
  'EvaluationRecorded',
  'SpeedRecorded',
  'ModelExported',
];

export function HistoryTab({ run, query }: TabProps) {
  const type = query.get('type') ?? '';
  const { events, next, trouble, older, isLoaded, reload } = useEvents(run.runId, run.revision, type);
  return (
    <>
      <Life run={run} />
      <section class="card" aria-label="History">
        <header>
          <h2>History</h2>
          <span class="soft">every stored event, the newest first</span>
          <label>
            Type
            <select value={type} onChange={({ currentTarget }) => setQuery({ type: currentTarget.value })}>
              <option value="">all</option>
              {CHOICES.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        </header>
        <div class="in">
          {isLoaded ? <TroubleNote trouble={trouble} /> : <Pending loaded={{ data: undefined, trouble, reload }} />}
          {isLoaded && events.length === 0 && <p class="soft">{type === '' ? 'No event yet.' : `No event of the type ${type}.`}</p>}
          {events.map((event) => (
            <Event key={String(event.revision)} event={event} />
          ))}
          {next !== undefined && (
            <p>
              <br />
              <button onClick={older}>Older events</button>
            </p>
          )}
        </div>
      </section>
    </>
  );
}

function Event({ event }: { event: HistoryEvent }) {
  const { revision, recordedAt, type, summary, abandoned, context, dataJson, damaged } = event;
  const [isOpen, setOpen] = useState(false);
  return (
    <article class={`event ${abandoned ? 'abandoned' : ''}`}>
      <span class="soft num">{String(revision)}</span>
      <span class="soft num">{time(recordedAt)}</span>
      <b>
        {damaged ? 'damaged' : type}
        {abandoned && <span class="soft"> (abandoned)</span>}
      </b>
      <p>
        {summary}
        {context !== undefined && <span class="soft"> · {context.actor}</span>}
      </p>
      <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
        <summary class="soft">as stored</summary>
        {isOpen && <pre tabIndex={0}>{pretty(dataJson)}</pre>}
      </details>
    </article>
  );
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

interface Events {
  events: HistoryEvent[];
  next: bigint | undefined;
  trouble: Trouble | undefined;
  older: () => void;
  /** An answer has come. Without one, nothing is known about the events. */
  isLoaded: boolean;
  reload: () => void;
}

/** Loads events. The newest page is loaded again when there is a new event, and older pages stay. */
function useEvents(runId: string, revision: bigint, type: string): Events {
  const [state, setState] = useState<{ key: string; events: HistoryEvent[]; next: bigint | undefined; trouble: Trouble | undefined }>({
    key: '',
    events: [],
    next: undefined,
    trouble: undefined,
  });
  const [round, setRound] = useState(0);
  const key = `${runId} ${type}`;
  const latest = useRef(state);
  latest.current = state;
  const load = useCallback(
    async (from: bigint | undefined, attempts: number, signal?: AbortSignal): Promise<number | null> => {
      const asked = { runId, backwards: true, pageSize: PAGE_SIZE, types: type === '' ? [] : [type] };
      try {
        const page = await historyService.readHistory(
          { ...asked, ...(from === undefined ? {} : { fromRevision: from }) },
          signal === undefined ? {} : { signal },
        );
        const before = latest.current.key === key ? latest.current : { events: [], next: undefined };
        const isNewest = from === undefined;
        const oldest = page.events.at(-1)?.revision ?? 0n;
        const rest = isNewest ? before.events.filter((one) => one.revision < oldest) : [];
        const events = isNewest ? [...page.events, ...rest] : [...before.events, ...page.events];
        setState({ key, events, next: isNewest && rest.length > 0 ? before.next : page.nextRevision, trouble: undefined });
      } catch (error) {
        if (isAbort(error)) return null;
        const trouble = troubleOf(error);
        setState((before) => ({ ...before, trouble }));
        return retryDelayMs(trouble, attempts);
      }
      return null;
    },
    [key],
  );
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (attempts: number): Promise<void> => {
      const delay = await load(undefined, attempts, controller.signal);
      if (delay !== null && !controller.signal.aborted) timer = setTimeout(() => void ask(attempts + 1), delay);
    };
    void ask(0);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key, revision, round]);
  const reload = (): void => setRound((before) => before + 1);
  useReturn(() => state.trouble !== undefined && reload());
  const isLoaded = state.key === key;
  const own = isLoaded ? state : { events: [], next: undefined, trouble: state.trouble };
  return { ...own, isLoaded, reload, older: () => void load(own.next, 0) };
}
