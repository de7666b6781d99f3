// Shows the frontier of a scan: what the best choice of layers loses at each size, and the runs that were launched with the scan.
import { useState } from 'preact/hooks';
import { May } from '../../api/caller.js';
import { runService } from '../../api/client.js';
import { useChanges } from '../../api/live.js';
import { useLoaded } from '../../api/loaded-data.js';
import { LaunchForm } from '../../forms/run/launch-form.js';
import { Recipe, RunStatus } from '../../generated/espalier/v1/common_pb.js';
import { RunService, type FrontierPoint, type FrontierRun, type Run } from '../../generated/espalier/v1/run_service_pb.js';
import { headlineOf, nameOf, stepOf } from '../../runs/columns.js';
import { Scatter } from '../../ui/charts/scatter.js';
import { bytes, count, countTick, decimal, NONE, percent, runStatusWords, short } from '../../ui/format.js';
import { Heads } from '../../ui/heads.js';
import { Pending } from '../../ui/pending.js';
import { Anchor } from '../../ui/router.js';
import { Scroll } from '../../ui/scroll.js';
import { sourceOf } from '../curves/source.js';
import { SettingsFold } from '../settings.js';
import type { TabProps } from '../tab-props.js';

const REFRESH_MS = 3_000;

export const isScan = ({ settings }: Run): boolean => settings?.recipe === Recipe.SCAN;

export function FrontierTab({ run }: TabProps) {
  return (
    <div class="curves-and-settings">
      <div class="stack">{run.status === RunStatus.COMPLETED ? <Frontier run={run} /> : <NoFrontier run={run} />}</div>
      <SettingsFold run={run} />
    </div>
  );
}

function NoFrontier({ run }: { run: Run }) {
  return (
    <div class="card empty">
      <h2>No frontier yet</h2>
      <p>
        The frontier comes at the end of a scan. This one is {runStatusWords(run)}: {count(stepOf(run))} of {count(run.layers.length)}{' '}
        layers are scored.
      </p>
    </div>
  );
}

function Frontier({ run }: { run: Run }) {
  const loaded = useLoaded(`frontier ${run.runId}`, (signal) => runService.queryFrontier({ runId: run.runId }, { signal }));
  const [chosen, setChosen] = useState<FrontierPoint | null>(null);
  const { data } = loaded;
  if (data === undefined) return <Pending loaded={loaded} />;
  const points = data.points.map(({ parameters, kl }) => ({
    x: Number(parameters),
    y: kl,
    title: `${short(Number(parameters))} parameters: ${decimal(kl)} nats a token lost`,
  }));
  return (
    <>
      <Scatter
        title="Lost at each size"
        about="the sum of the scores of the best choice of layers, before any training"
        x={{ name: 'parameters', words: countTick }}
        y={{ name: 'lost (nats a token)' }}
        lines={[{ name: 'best choice', points: points.sort((one, other) => one.x - other.x) }]}
        source={sourceOf([run])}
      />
      <section class="card" aria-label="Frontier">
        <header>
          <h2>Frontier</h2>
          <span class="soft">
            Losses of layers do not add up, so the sum says which choice is better, and not what the whole choice loses. Pruned is the share
            of the prunable parameters that goes.
          </span>
        </header>
        <Scroll label="Frontier">
          <table class="plain num">
            <Heads names={[...HEADS, 'Launch']} numbers={[...HEADS, 'Launch']} />
            <tbody>
              {data.points.map((point, index) => (
                <tr key={index}>
                  <td class="right">{count(point.parameters)}</td>
                  <td class="right">{percent(Number(point.parameters) / Number(data.intactParameters))}</td>
                  <td class="right">{percent(point.sparsity)}</td>
                  <td class="right">{percent(point.multiplyAddShare)}</td>
                  <td class="right">{bytes(Number(point.weightBytes))}</td>
                  <td class="right">{decimal(point.kl)}</td>
                  <td class="right">{point.sparsity > 0 && <LaunchButton point={point} launch={() => setChosen(point)} />}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      </section>
      <RunsOfLibrary run={run} runs={data.runs} reload={loaded.reload} intactParameters={data.intactParameters} />
      {chosen !== null && (
        <LaunchForm
          like={run}
          settings={{ preset: 'fisher', library: run.runId, target_params: String(chosen.parameters) }}
          close={() => setChosen(null)}
        />
      )}
    </>
  );
}

const FIGURES = ['Parameters', 'Of intact', 'Lost', 'Recovery steps', 'Perplexity'];
const HEADS = ['Parameters', 'Of intact', 'Pruned', 'Multiply-adds', 'Weights', 'Lost'];

function LaunchButton({ point: { parameters }, launch }: { point: FrontierPoint; launch: () => void }) {
  return (
    <May call={RunService.method.launchRun}>
      <button class="plain" onClick={launch} aria-label={`Launch with ${short(Number(parameters))} parameters`}>
        Launch
      </button>
    </May>
  );
}

interface LibraryProps {
  run: Run;
  runs: readonly FrontierRun[];
  reload: () => void;
  intactParameters: bigint;
}

/** The runs whose layers were chosen by the scan. Their perplexity is another quantity than what the scan says is lost. */
function RunsOfLibrary({ run: { runId }, runs, reload, intactParameters }: LibraryProps) {
  useChanges(() => true, reload, REFRESH_MS, `library ${runId}`);
  const launched = runs.flatMap(({ run, kl }) => (run === undefined ? [] : [{ run, kl }]));
  if (launched.length === 0) return null;
  return (
    <section class="card" aria-label="Runs with this scan">
      <header>
        <h2>Runs with this scan</h2>
        <span class="soft">what training made of the choices</span>
        <Anchor to={`/?where=${encodeURIComponent(`library=${runId}`)}`}>In the list of runs</Anchor>
      </header>
      <Scroll label="Runs with this scan">
        <table class="plain num">
          <Heads names={['Run', 'State', ...FIGURES]} numbers={FIGURES} />
          <tbody>
            {launched.map(({ run: one, kl }) => (
              <tr key={one.runId}>
                <td>
                  <Anchor to={`/runs/${one.runId}`}>{nameOf(one)}</Anchor>
                </td>
                <td>{runStatusWords(one)}</td>
                <td class="right">{one.result === undefined ? NONE : count(one.result.parameterCount)}</td>
                <td class="right">
                  {one.result === undefined ? NONE : percent(Number(one.result.parameterCount) / Number(intactParameters))}
                </td>
                <td class="right">{decimal(kl)}</td>
                <td class="right">{count(one.settings?.recoverSteps ?? 0)}</td>
                <td class="right">{decimal(headlineOf(one)?.perplexity)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
