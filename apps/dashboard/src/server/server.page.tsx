// The view of the server: its engines, the devices of their machines, and its disk.
import { useState } from 'preact/hooks';
import { May } from '../api/caller.js';
import { artifactService, engineService, historyService, troubleOf } from '../api/client.js';
import { useLoaded, useRepeated, useTrouble } from '../api/loaded-data.js';
import { AccessService } from '../generated/espalier/v1/access_service_pb.js';
import { ArtifactService, type GetDiskUsageResponse, type RunDiskUsage } from '../generated/espalier/v1/artifact_service_pb.js';
import { EngineService, type Device, type Engine } from '../generated/espalier/v1/engine_service_pb.js';
import type { Page } from '../ui/page.js';
import { ago, bytes, count, NONE, statusWordsOf } from '../ui/format.js';
import { Heads } from '../ui/heads.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Scroll } from '../ui/scroll.js';
import { Anchor } from '../ui/router.js';
import { Log } from './log.js';
import { Tokens } from './tokens.js';
import { Garbage } from './garbage.js';
import { engineNotes, engineTone, engineWord, isDiskLow } from './server-words.js';

const LOOK_AGAIN_MS = 2_000;

export const page: Page = { name: 'Server', place: 4, View: ServerView };

function ServerView() {
  const condition = useLoaded('condition', (signal) => historyService.getStoreCondition({}, { signal }));
  return (
    <>
      <div class="bar">
        <h1>Server</h1>
      </div>
      {condition.data?.missingEvents !== undefined && (
        <p class="trouble">
          {condition.data.missingEvents.message}. Nothing is thrown away meanwhile. Put the right store back, or accept this one with{' '}
          <code>npx espalier down</code> and <code>npx espalier up --accept-store</code>.
        </p>
      )}
      {condition.data?.artifactTrouble !== undefined && (
        <p class="trouble">{condition.data.artifactTrouble.message}. Runs wait, and go on by themselves once the artifact store answers.</p>
      )}
      <div class="stack">
        <Engines />
        <May call={EngineService.method.listDevices}>
          <Devices />
        </May>
        <Disk />
        <May call={AccessService.method.listTokens}>
          <Tokens />
        </May>
        <May call={EngineService.method.getLog}>
          <Log />
        </May>
      </div>
    </>
  );
}

function Engines() {
  const loaded = useLoaded('engines', async (signal) => (await engineService.listEngines({}, { signal })).engines);
  useRepeated(loaded.reload, LOOK_AGAIN_MS);
  const { data: engines, trouble } = loaded;
  if (engines === undefined) return <Pending loaded={loaded} heading="The engines are not known" />;
  return (
    <section class="card" aria-label="Engines">
      <header>
        <h2>Engines</h2>
        <span class="soft">each does one piece of work at a time</span>
      </header>
      <TroubleNote trouble={trouble} />
      <Scroll label="Engines">
        <table class="plain num">
          <Heads
            names={['Engine', 'State', 'Run', 'Device', 'Threads', 'Memory free', 'Memory used', 'Since']}
            numbers={['Threads', 'Memory free', 'Memory used']}
          />
          <tbody>
            {engines.map((engine) => (
              <EngineRow key={engine.name} engine={engine} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function EngineRow({ engine }: { engine: Engine }) {
  const { name, status, runId, backend, device, threads, memoryAvailableBytes, residentBytes, since } = engine;
  const tone = engineTone(status);
  return (
    <tr>
      <td>{name}</td>
      <td>
        <span class={`status ${tone}`}>
          <span class={`dot ${tone}`} /> {engineWord(status)}
        </span>
        {engineNotes(engine).map((note) => (
          <p class="soft" key={note}>
            {note}
          </p>
        ))}
      </td>
      <td>{runId === '' ? NONE : <Anchor to={`/runs/${runId}`}>{runId}</Anchor>}</td>
      <td>{backend === '' ? NONE : `${backend}: ${device}`}</td>
      <td class="right">{threads === 0 ? NONE : count(threads)}</td>
      <td class="right">{memoryAvailableBytes === 0n ? NONE : bytes(memoryAvailableBytes)}</td>
      <td class="right">{residentBytes === 0n ? NONE : bytes(residentBytes)}</td>
      <td>{ago(since)}</td>
    </tr>
  );
}

/** The devices are only loaded by hand, because this starts an engine where none runs. */
function Devices() {
  const [devices, setDevices] = useState<Device[]>();
  const [trouble, setTrouble] = useTrouble();
  const [isLooking, setLooking] = useState(false);
  const look = async (): Promise<void> => {
    setLooking(true);
    setTrouble(undefined);
    try {
      setDevices((await engineService.listDevices({})).devices);
    } catch (error) {
      setTrouble(troubleOf(error));
    }
    setLooking(false);
  };
  return (
    <section class="card" aria-label="Devices">
      <header>
        <h2>Devices</h2>
        <span class="soft">that the engines can compute on; an engine is started where none runs</span>
        <button class="at-end" disabled={isLooking} onClick={() => void look()}>
          {isLooking ? 'Looking …' : 'Look'}
        </button>
      </header>
      <TroubleNote trouble={trouble} />
      {devices === undefined ? (
        <p class="in soft">Not looked for yet.</p>
      ) : (
        <ul class="in jobs">
          {devices.map(({ name, model, instructionSet, memoryBytes, memoryAvailableBytes, problem, engines }, index) => (
            <li key={index}>
              <span class={`dot ${problem === '' ? 'good' : 'bad'}`} />
              <div>
                <p>
                  <b>{name}</b> {[model, instructionSet].filter(Boolean).join(', ')}
                </p>
                <p class="soft num">
                  {problem !== '' ? problem : `${bytes(memoryAvailableBytes)} free of ${bytes(memoryBytes)}`}
                  {engines.length > 0 && `; ${engines.join(', ')}`}
                </p>
              </div>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Disk() {
  const loaded = useLoaded('disk', (signal) => artifactService.getDiskUsage({}, { signal }));
  const { data: usage, trouble, reload } = loaded;
  if (usage === undefined) return <Pending loaded={loaded} heading="The use of the disk is not known" />;
  return (
    <section class="card" aria-label="Disk">
      <header>
        <h2>Disk</h2>
        <button class="at-end" onClick={reload}>
          Look again
        </button>
      </header>
      <TroubleNote trouble={trouble} />
      <div class="in">
        <dl class="facts">
          {diskFacts(usage).map(([term, value]) => (
            <div key={term}>
              <dt>{term}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        {isDiskLow(usage.availableBytes) && (
          <p class="note below">The disk is nearly full: thin runs out, or clear away what no run needs.</p>
        )}
        <May call={ArtifactService.method.collectGarbage}>
          <Garbage done={reload} />
        </May>
      </div>
      {usage.runs.length > 0 && <RunsOnDisk runs={usage.runs} />}
    </section>
  );
}

const diskFacts = (usage: GetDiskUsageResponse): [string, string][] => [
  ['Free', usage.availableBytes === undefined ? NONE : bytes(usage.availableBytes)],
  ['Artifacts in all', bytes(usage.artifactsBytes)],
  ['States', bytes(usage.statesBytes)],
  ['Exports', bytes(usage.exportsBytes)],
  ['Tokens', bytes(usage.tokensBytes)],
  ['Shared by runs', bytes(usage.sharedBytes)],
  ['No run needs', bytes(usage.unneededBytes)],
  ['In quarantine', bytes(usage.quarantineBytes)],
  ['Incoming', bytes(usage.incomingBytes)],
  ['Event store', usage.eventStoreBytes === undefined ? 'elsewhere' : bytes(usage.eventStoreBytes)],
  ['Views', bytes(usage.viewsBytes)],
];

function RunsOnDisk({ runs }: { runs: readonly RunDiskUsage[] }) {
  return (
    <Scroll label="Disk by run">
      <table class="plain num">
        <Heads
          names={['Run', 'State', 'States', 'Exports', 'Tokens', 'Shared by runs', 'Its deletion would free']}
          numbers={['States', 'Exports', 'Tokens', 'Shared by runs', 'Its deletion would free']}
        />
        <tbody>
          {runs.slice(0, MOST_RUNS).map((run) => (
            <tr key={run.runId}>
              <td class="of-run">
                <Anchor to={`/runs/${run.runId}`}>{run.name || run.runId}</Anchor>
              </td>
              <td>{statusWordsOf(run)}</td>
              <td class="right">{bytes(run.statesBytes)}</td>
              <td class="right">{bytes(run.exportsBytes)}</td>
              <td class="right">{bytes(run.tokensBytes)}</td>
              <td class="right">{bytes(run.sharedBytes)}</td>
              <td class="right">{bytes(run.reclaimableBytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** The table shows this many runs: those that take the most room. */
const MOST_RUNS = 50;
