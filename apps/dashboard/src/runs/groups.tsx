// Shows the runs of the list in groups, with mean and spread of the completed runs' results.
import { useState } from 'preact/hooks';
import { runService, troubleOf, type Trouble } from '../api/client.js';
import { useChanges } from '../api/live.js';
import { useLoaded } from '../api/loaded-data.js';
import type { RunFigure, RunGroup } from '../generated/espalier/v1/run_service_pb.js';
import { count, counted, decimal, duration, NONE, percent, plainNumber } from '../ui/format.js';
import { Pending, TroubleNote } from '../ui/pending.js';
import { Scroll } from '../ui/scroll.js';
import { Anchor, go, setQuery } from '../ui/router.js';
import { figureColumns, nameOf, type Column } from './columns.js';
import { MOST_COMPARED } from './compare/compared-figures.js';
import { conditionsOfGroup } from './group-words.js';
import { allRunIds, type RunFilter } from './run-pages.js';

/** The figures that every group shows. */
const USUAL = ['perplexity', 'sparsity', 'training_seconds'];
const MOST_FIGURES = 16;

/** @param columns the columns of the list; their figures are shown for groups too */
export function RunGroups({ by, filter, columns }: { by: string[]; filter: RunFilter; columns: Column[] }) {
  const told = figureColumns(columns)
    .filter(({ order }) => ![...USUAL, ...by].includes(order!.by))
    .slice(0, MOST_FIGURES);
  const figures = told.map(({ order }) => order!.by);
  const { text, statuses, tags, where } = filter;
  const key = JSON.stringify([by, figures, text, statuses, tags, where]);
  const loaded = useLoaded(`groups ${key}`, (signal) =>
    runService.groupRuns({ by, figures, nameContains: text, statuses, tags, where }, { signal }),
  );
  useChanges(() => true, loaded.reload, 3_000, key);
  const [picked, setPicked] = useState<string[]>([]);
  const [trouble, setTrouble] = useState<Trouble>();
  const { data } = loaded;
  if (data === undefined) return <Pending loaded={loaded} heading="The runs can&rsquo;t be grouped" />;
  const idOf = ({ values }: RunGroup): string => JSON.stringify(values);
  const chosen = data.groups.filter((group) => picked.includes(idOf(group)));
  const runs = chosen.reduce((sum, group) => sum + group.runs, 0);
  const compare = async (): Promise<void> => {
    try {
      const ids = await Promise.all(
        chosen.map(({ values }) => allRunIds({ ...filter, where: [...where, ...conditionsOfGroup(by, values)!] })),
      );
      go(`/compare?runs=${ids.flat().join(',')}&seeds=together`);
    } catch (error) {
      setTrouble(troubleOf(error));
    }
  };
  return (
    <section class="card groups-card" aria-label="Groups of runs">
      <header>
        <h2>
          {counted(data.groups.length, 'group')} of {counted(data.total, 'run')}
        </h2>
        <span class="soft">mean ± standard deviation of the completed runs; further figures by Columns</span>
        <span class="tools">
          <button disabled={runs < 2 || runs > MOST_COMPARED} onClick={() => void compare()}>
            Compare {chosen.length > 0 ? counted(runs, 'run') : 'groups'}
          </button>
          {runs > MOST_COMPARED && <span class="soft">more than {MOST_COMPARED} lines can&rsquo;t be told apart</span>}
          <button onClick={() => setQuery({ plot: 'curves' })}>Mean curves</button>
        </span>
      </header>
      <Scroll label="Groups of runs">
        <TroubleNote trouble={trouble ?? loaded.trouble} />
        <table class="plain num groups">
          <Head by={by} told={told} />
          <tbody>
            {data.groups.map((group) => (
              <Row
                key={idOf(group)}
                by={by}
                group={group}
                where={where}
                isPicked={picked.includes(idOf(group))}
                pick={(is) => setPicked((before) => (is ? [...before, idOf(group)] : before.filter((one) => one !== idOf(group))))}
              />
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function Head({ by, told }: { by: string[]; told: Column[] }) {
  return (
    <thead>
      <tr>
        <td />
        {by.map((name) => (
          <th key={name} scope="col">
            {name.replaceAll('_', ' ')}
          </th>
        ))}
        <th scope="col" class="right">
          Runs
        </th>
        <th scope="col" class="right">
          Completed
        </th>
        <th scope="col" class="right">
          Perplexity
        </th>
        <th scope="col" class="right">
          Lowest
        </th>
        <th scope="col" class="right">
          Hard sparsity
        </th>
        <th scope="col" class="right">
          Time of training
        </th>
        {told.map(({ id, title }) => (
          <th key={id} scope="col" class="right">
            {title}
          </th>
        ))}
        <th scope="col">Best run</th>
      </tr>
    </thead>
  );
}

interface RowProps {
  by: string[];
  group: RunGroup;
  where: string[];
  isPicked: boolean;
  pick: (is: boolean) => void;
}

function Row({ by, group, where, isPicked, pick }: RowProps) {
  const { values, runs, runsCompleted, perplexity, sparsity, trainingSeconds, bestRunId, bestRunName, figures } = group;
  const conditions = conditionsOfGroup(by, values);
  const name = values.map((value) => (value === '' ? NONE : plainNumber(value))).join(', ');
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          aria-label={`Choose the group ${name}`}
          disabled={conditions === null}
          checked={isPicked}
          onChange={({ currentTarget }) => pick(currentTarget.checked)}
        />
      </td>
      {values.map((value, index) => (
        <td key={by[index]} class="value">
          {value === '' ? NONE : plainNumber(value)}
        </td>
      ))}
      <td class="right">
        {conditions === null ? (
          count(runs)
        ) : (
          <button
            class="plain"
            aria-label={`Show the ${counted(runs, 'run')} of ${name}`}
            onClick={() => setQuery({ group: '', where: [...where, ...conditions].join(', ') })}
          >
            {count(runs)}
          </button>
        )}
      </td>
      <td class="right">{count(runsCompleted)}</td>
      <td class="right">{wide(perplexity, decimal)}</td>
      <td class="right">{decimal(perplexity?.lowest)}</td>
      <td class="right">{wide(sparsity, percent)}</td>
      <td class="right">{wide(trainingSeconds, duration)}</td>
      {figures.map(({ name, figure }) => (
        <td key={name} class="right">
          {wide(figure, decimal)}
        </td>
      ))}
      <td>{bestRunId === '' ? NONE : <Anchor to={`/runs/${bestRunId}`}>{nameOf({ name: bestRunName, runId: bestRunId })}</Anchor>}</td>
    </tr>
  );
}

function wide(figure: RunFigure | undefined, words: (value: number) => string) {
  if (figure === undefined) return NONE;
  return (
    <>
      {words(figure.mean)}
      {figure.spread !== undefined && <span class="soft"> ± {words(figure.spread)}</span>}
    </>
  );
}
