// Any number of runs beside one another: curves over one another, and the settings in which they differ; the first is the baseline.
import { useMemo, useState } from 'preact/hooks';
import { runService } from '../api/client.js';
import { useChanges } from '../api/live.js';
import { useLoaded } from '../api/loaded.js';
import { wordsOf } from '../forms/settings-fields.js';
import type { QueryCurvesResponse } from '../generated/espalier/v1/history_service_pb.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { loadCurves } from '../run/curve-data.js';
import { Chart, interpolated, smoothed } from '../ui/chart.js';
import type { Curve } from '../ui/curve.js';
import { count, decimal, duration, percent, short, statusWord } from '../ui/format.js';
import { Smoothing, TroubleNote } from '../ui/parts.js';
import { Anchor, setQuery } from '../ui/router.js';
import { color } from '../ui/theme.js';
import { headlineOf, nameOf } from './columns.js';
import { MaskDifferences } from './mask-differences.js';

const TONES = 6;
const AXES = { step: 'steps', tokens: 'tokens', time: 'seconds of training' };
type Axis = keyof typeof AXES;
const PICTURES: [quantity: string, title: string, isShare: boolean][] = [
  ['loss', 'Loss', false],
  ['expected_sparsity', 'Expected sparsity', true],
  ['layer_loss', 'Layer loss', false],
  ['kl_loss', 'KL loss', false],
  ['tokens_per_second', 'Speed, tokens/s', false],
];

interface Compared {
  run: Run;
  curves: QueryCurvesResponse;
}

export function CompareView({ query }: { query: URLSearchParams }) {
  const ids = (query.get('runs') ?? '').split(',').filter(Boolean);
  const { data, trouble, reload } = useLoaded(`compare ${ids.join()}`, (signal) =>
    Promise.all(
      ids.map(async (runId): Promise<Compared> => ({
        run: (await runService.getRun({ runId }, { signal })).run!,
        curves: await loadCurves(runId, null, signal),
      })),
    ),
  );
  useChanges(({ runId }) => ids.some((id) => runId.startsWith(id)), reload, 3_000, ids.join());
  if (ids.length === 0)
    return (
      <div class="card empty">
        <h1>Nothing to compare yet</h1>
        <p>
          Choose two or more runs in <Anchor to="/">the list</Anchor>, then Compare.
        </p>
      </div>
    );
  return (
    <>
      <div class="bar">
        <h1>Comparison</h1>
      </div>
      <TroubleNote trouble={trouble} />
      {data !== undefined && <Comparison all={data} ids={ids} query={query} />}
    </>
  );
}

function Comparison({ all, ids, query }: { all: Compared[]; ids: string[]; query: URLSearchParams }) {
  const axis = (query.get('axis') ?? 'step') in AXES ? ((query.get('axis') ?? 'step') as Axis) : 'step';
  const [smoothing, setSmoothing] = useState(0);
  const charts = useMemo(
    () => PICTURES.map(([quantity, title, isShare]) => ({ title, isShare, ...overlaid(all, quantity, axis, smoothing) })),
    [all, axis, smoothing],
  );
  const first = (id: string): void => setQuery({ runs: [id, ...ids.filter((one) => one !== id)].join(',') });
  const without = (id: string): void => setQuery({ runs: ids.filter((one) => one !== id).join(',') });
  return (
    <>
      <section class="card" aria-label="Runs compared">
        <div class="in scroll">
          <Table all={all} ids={ids} first={first} without={without} />
        </div>
      </section>
      <br />
      <div class="bar">
        <label>
          Against
          <select
            value={axis}
            onChange={({ currentTarget }) => setQuery({ axis: currentTarget.value === 'step' ? '' : currentTarget.value })}
          >
            {Object.entries(AXES).map(([id, words]) => (
              <option key={id} value={id}>
                {words}
              </option>
            ))}
          </select>
        </label>
        <Smoothing value={smoothing} changed={setSmoothing} />
      </div>
      <div class="charts">
        {charts
          .filter(({ curves }) => curves.length > 0)
          .map(({ title, isShare, x, curves }) => (
            <Chart
              key={title}
              title={title}
              x={x}
              curves={curves}
              {...(isShare ? { words: percent } : {})}
              sync="compare"
              fileName={`comparison ${title}`}
            />
          ))}
      </div>
      <br />
      <div class="charts wide">
        {all.slice(1).map(({ run }) => (
          <MaskDifferences key={run.runId} baseline={all[0]!.run} other={run} />
        ))}
      </div>
    </>
  );
}

/** All on one axis: where a curve has no point of its own, its line between its points counts. */
function overlaid(all: Compared[], quantity: string, axis: Axis, smoothing: number): { x: number[]; curves: Curve[] } {
  const each = all.map(({ run, curves }, index) => {
    const tokens = (run.settings?.batchSize ?? 0) * (run.settings?.sequenceLength ?? 0);
    let seconds = 0;
    const places = curves.steps.map((step, at) => {
      seconds += curves.seconds[at] ?? 0;
      return axis === 'time' ? seconds : axis === 'tokens' ? (Number(step) + 1) * tokens : Number(step);
    });
    const mean = curves.curves.find((one) => one.quantity === quantity)?.mean ?? [];
    const values = smoothed(
      mean.map((value) => (Number.isFinite(value) ? value : null)),
      smoothing,
    );
    return {
      label: `${nameOf(run)}${all.findIndex((one) => nameOf(one.run) === nameOf(run)) === index ? '' : ` ${run.runId.slice(0, 4)}`}`,
      places,
      values,
    };
  });
  const x = [...new Set(each.flatMap(({ places }) => places))].sort((one, other) => one - other);
  const curves = each.flatMap(({ label, places, values }, index) => {
    if (!values.some((value) => value !== null)) return [];
    return [{ label, tone: (index % TONES) + 1, dashed: index >= TONES, values: interpolated(places, values, x) }];
  });
  return { x, curves };
}

function factsOf(run: Run): Record<string, string> {
  return {
    status: statusWord(run.status),
    step: count(run.step),
    'hard sparsity': percent(run.hardSparsity),
    perplexity: decimal(headlineOf(run)?.perplexity),
    'last loss': decimal(run.lastStep?.loss),
    teachers: count(run.teacherCount),
    'tokens/s': short(run.tokensPerSecond),
    trained: duration(run.trainingSeconds),
  };
}

function settingsOf({ settings, modelPath, data }: Run): Record<string, string> {
  const words = Object.entries(wordsOf(settings)).map(([name, value]) => [name.replaceAll('_', ' '), value]);
  return { model: modelPath, 'training text': data?.trainPath ?? '', ...(Object.fromEntries(words) as Record<string, string>) };
}

interface TableProps {
  all: Compared[];
  ids: string[];
  first: (id: string) => void;
  without: (id: string) => void;
}

function Table({ all, ids, first, without }: TableProps) {
  const facts = all.map(({ run }) => factsOf(run));
  const settings = all.map(({ run }) => settingsOf(run));
  const names = [...new Set(settings.flatMap(Object.keys))].filter((name) => new Set(settings.map((one) => one[name])).size > 1);
  const rows: [string, (string | undefined)[]][] = [
    ...Object.keys(facts[0] ?? {}).map((name): [string, string[]] => [name, facts.map((one) => one[name]!)]),
    ...names.map((name): [string, (string | undefined)[]] => [name, settings.map((one) => one[name])]),
  ];
  return (
    <table class="plain num">
      <thead>
        <tr>
          <th />
          {all.map(({ run }, index) => (
            <th key={run.runId} scope="col">
              <span class="swatch-dot" style={{ background: color(`curve-${(index % TONES) + 1}`) }} />{' '}
              <Anchor to={`/runs/${run.runId}`}>{nameOf(run)}</Anchor>
              <br />
              {index === 0 ? (
                <span class="tag">baseline</span>
              ) : (
                <button class="plain" onClick={() => first(ids[index]!)} aria-label={`Make ${nameOf(run)} the baseline`}>
                  as baseline
                </button>
              )}
              <button class="plain" onClick={() => without(ids[index]!)} aria-label={`Leave ${nameOf(run)} out`}>
                leave out
              </button>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, values]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            {values.map((value, index) => (
              <td key={index} class={index > 0 && value !== values[0] ? 'differs' : ''}>
                {value ?? '–'}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
