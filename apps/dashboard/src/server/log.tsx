// Shows the last lines that the server and its engines have logged.
import { useEffect, useRef, useState } from 'preact/hooks';
import { engineService } from '../api/client.js';
import { useLoaded, useRepeated } from '../api/loaded-data.js';
import type { LogLine } from '../generated/espalier/v1/engine_service_pb.js';
import { Check } from '../forms/fields/choice-field.js';
import { time } from '../ui/format.js';
import { Pending, TroubleNote } from '../ui/pending.js';

const LOOK_AGAIN_MS = 3_000;
const LINES = 200;

export function Log() {
  const [problemsOnly, setProblemsOnly] = useState(false);
  const loaded = useLoaded('log', (signal) => engineService.getLog({ lines: LINES, problemsOnly }, { signal }), String(problemsOnly));
  const { data, trouble, reload } = loaded;
  const room = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useRepeated(reload, LOOK_AGAIN_MS);
  // The view follows new lines while the reader is at the end. Otherwise they don't move the lines that are being read.
  useEffect(() => {
    if (atEnd.current) room.current?.scrollTo(0, room.current.scrollHeight);
  }, [data]);
  if (data === undefined) return <Pending loaded={loaded} heading="The log is not known" />;
  return (
    <section class="card" aria-label="Log">
      <header>
        <h2>Log</h2>
        <span class="soft">the last {LINES} lines of the server, its engines and the event store</span>
        <span class="at-end">
          <Check label="Warnings and errors only" checked={problemsOnly} changed={setProblemsOnly} />
        </span>
      </header>
      <TroubleNote trouble={trouble} />
      {data.elsewhere && <p class="in soft">This server logs on its terminal, so its own lines are not here.</p>}
      <div
        class="in log"
        ref={room}
        tabIndex={0}
        role="group"
        aria-label="Lines of the log"
        onScroll={({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => {
          atEnd.current = scrollTop + clientHeight >= scrollHeight - 8;
        }}
      >
        {data.lines.length === 0 ? (
          <p class="soft">{problemsOnly ? 'No warning and no error.' : 'No line yet.'}</p>
        ) : (
          data.lines.map((line, index) => <Line key={index} line={line} />)
        )}
      </div>
    </section>
  );
}

function Line({ line: { time: loggedAt, level, source, text } }: { line: LogLine }) {
  return (
    <p>
      <span class="soft num">{time(loggedAt)}</span>
      <span class={level === 'error' ? 'bad' : level === 'warn' ? 'wait' : 'soft'}>{level}</span>
      <span class="soft">{source}</span>
      <span>{text}</span>
    </p>
  );
}
