// The figures of compared runs, with their differences from the baseline, and the settings that differ.
import { Swatch } from '../../ui/charts/chart.js';
import { NONE, runStatusWords } from '../../ui/format.js';
import { lookOf } from '../../ui/charts/line-looks.js';
import { Anchor } from '../../ui/router.js';
import { differenceOf, differingSettings, summaryOf, type Group } from './comparison.js';
import { FIGURES, runOf, type Compared } from './compared-figures.js';

interface Props {
  groups: Group[];
  all: Compared[];
  sort: string;
  sortBy: (figure: string) => void;
  first: (group: Group) => void;
  without: (group: Group) => void;
}

export function CompareTable({ groups, all, sort, sortBy, first, without }: Props) {
  const settings = differingSettings(groups);
  const statusOf = ({ members }: Group): string => [...new Set(members.map(({ runId }) => runStatusWords(runOf(all, runId))))].join(', ');
  return (
    <table class="plain num compared">
      <caption class="soft">
        <span>
          Only perplexity makes a run better or worse: by one measure, over two seeds or more on both sides, beyond two standard errors, and
          at one size, or where the better run is the smaller one.
        </span>
      </caption>
      <thead>
        <tr>
          <th scope="col">Figure</th>
          {groups.map((group, index) => (
            <th key={group.members[0].runId} scope="col">
              <Swatch {...lookOf(index)} />{' '}
              {group.members.length === 1 ? <Anchor to={`/runs/${group.members[0].runId}`}>{group.name}</Anchor> : group.name}
              <br />
              {index === 0 ? (
                <span class="tag">baseline</span>
              ) : (
                <button class="plain" onClick={() => first(group)} aria-label={`as baseline: ${group.name}`}>
                  as baseline
                </button>
              )}
              <button class="plain" onClick={() => without(group)} aria-label={`leave out ${group.name}`}>
                leave out
              </button>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        <tr>
          <th scope="row">status</th>
          {groups.map((group) => (
            <td key={group.members[0].runId}>{statusOf(group)}</td>
          ))}
        </tr>
        {FIGURES.map((figure) => (
          <FigureRow key={figure.name} figure={figure} groups={groups} sort={sort} sortBy={sortBy} />
        ))}
        {settings.map(([name, values]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            {values.map((value, index) => (
              <td key={index} class={index > 0 && value !== values[0] ? 'differs' : ''}>
                {value || NONE}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

type RowProps = Pick<Props, 'groups' | 'sort' | 'sortBy'> & { figure: (typeof FIGURES)[number] };

function FigureRow({ figure: { name, words, differenceWords = words, about }, groups, sort, sortBy }: RowProps) {
  const summaries = groups.map((group) => ({ group, summary: summaryOf(group, name) }));
  const [baseline] = groups;
  const direction = sort === name ? 'ascending' : sort === `${name} desc` ? 'descending' : undefined;
  return (
    <tr>
      <th scope="row" aria-sort={direction ?? 'none'}>
        <button class="plain" onClick={() => sortBy(direction === 'ascending' ? `${name} desc` : direction === 'descending' ? '' : name)}>
          {name} {direction === 'ascending' ? '→' : direction === 'descending' ? '←' : ''}
        </button>
        {about !== undefined && <small class="about">{about}</small>}
      </th>
      {summaries.map(({ group, summary }, index) => (
        <td key={group.members[0].runId}>
          {summary === undefined ? NONE : words(summary.mean)}
          {summary?.spread !== undefined && <span class="soft"> ± {words(summary.spread)}</span>}
          {index > 0 && baseline !== undefined && <Against own={group} baseline={baseline} figure={name} words={differenceWords} />}
        </td>
      ))}
    </tr>
  );
}

interface AgainstProps {
  own: Group;
  baseline: Group;
  figure: string;
  words: (value: number) => string;
}

/** Shows a difference. A sign and a word stand beside the colour, for readers who can't tell colours apart. */
function Against({ own, baseline, figure, words }: AgainstProps) {
  const difference = differenceOf(own, baseline, figure);
  if (difference === null) return null;
  const { value, verdict, why } = difference;
  if (words(Math.abs(value)) === words(0)) return null; // too small to be shown
  return (
    <small class={`against ${verdict}`}>
      {value > 0 ? '+' : '\u2212'}
      {[words(Math.abs(value)), verdict === 'none' ? '' : verdict].filter(Boolean).join(' ')}
      {why !== '' && `, ${why}`}
    </small>
  );
}
