// Draws the family of a run over the steps: where each run was forked, how far it came, and its result.
import { runService } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { LineageNode, Run } from '../../generated/espalier/v1/run_service_pb.js';
import { headlineOf, nameOf } from '../../runs/columns.js';
import { count, decimal, percent, statusTone, statusWordsOf } from '../../ui/format.js';
import { Pending, TroubleNote } from '../../ui/pending.js';
import { Scroll } from '../../ui/scroll.js';
import { Anchor } from '../../ui/router.js';
import { loadAbandoned, type AbandonedBranch } from './abandoned.js';
import type { TabProps } from '../tab-props.js';

const LANE = 46;
/** The distance at which an abandoned branch is drawn below its run. */
const ABANDONED = 13;
const [LEFT, RIGHT, WIDTH] = [16, 300, 1100];
/** The most members that are drawn. Of a larger family, the members nearest to the run are drawn. */
const MOST_MEMBERS = 60;

interface Member {
  node: LineageNode;
  run: Run | undefined;
  abandoned: AbandonedBranch[];
}

export function FamilyTab({ run }: TabProps) {
  const loaded = useLoaded(`family ${run.runId}`, (signal) => loadFamily(run.runId, signal), `${run.revision}`);
  const { data, trouble } = loaded;
  if (data === undefined) return <Pending loaded={loaded} />;
  const { members, total } = data;
  return (
    <section class="card" aria-label="Family">
      <header>
        <h2>Family</h2>
        <span class="soft">
          {count(total)} {total === 1 ? 'run: nothing was forked from it yet' : 'runs; each line is a run over its steps'}
          {members.length < total && `, ${members.length} of them drawn`}
          {members.some(({ abandoned }) => abandoned.length > 0) && '; a dashed line is a branch that a rewind abandoned'}
        </span>
        {members.length > 1 && (
          <Anchor
            to={`/compare?runs=${members
              .slice(0, 8)
              .map(({ node }) => node.runId)
              .join(',')}`}
          >
            Compare them
          </Anchor>
        )}
      </header>
      <TroubleNote trouble={trouble} />
      <Scroll label="Family">
        <Graph members={members} own={run.runId} />
      </Scroll>
    </section>
  );
}

async function loadFamily(runId: string, signal: AbortSignal): Promise<{ members: Member[]; total: number }> {
  const { tree } = await runService.getLineage({ runId }, { signal });
  const at = tree.findIndex((node) => node.runId === runId);
  const first = Math.max(0, Math.min(at - MOST_MEMBERS / 2, tree.length - MOST_MEMBERS));
  const members = await Promise.all(
    tree.slice(first, first + MOST_MEMBERS).map(async (node) => {
      const { run } = await runService.getRun({ runId: node.runId }, { signal }).catch(() => ({ run: undefined }));
      const abandoned = run === undefined ? [] : await loadAbandoned(run, signal).catch(() => []);
      return { node, run, abandoned };
    }),
  );
  return { members, total: tree.length };
}

function Graph({ members, own }: { members: Member[]; own: string }) {
  const stepsOf = ({ run, abandoned }: Member): number[] => [Number(run?.step ?? 0), ...abandoned.map(({ endStep }) => endStep)];
  const last = Math.max(1, ...members.flatMap(stepsOf));
  const x = (step: bigint | number): number => LEFT + (Number(step) / last) * (WIDTH - LEFT - RIGHT);
  const lanes = new Map(members.map(({ node }, lane) => [node.runId, lane]));
  const y = (lane: number): number => lane * LANE + 26;
  return (
    <svg
      class="family"
      viewBox={`0 0 ${WIDTH} ${members.length * LANE + 10}`}
      style={{ minWidth: '760px' }}
      role="group"
      aria-label="Lineage"
    >
      {members.map((member, lane) => {
        const { node, run, abandoned } = member;
        const parent = lanes.get(node.parentRunId);
        const start = x(node.forkedAtStep);
        const end = Math.max(x(run?.step ?? node.forkedAtStep), start + 3);
        const label = Math.max(end, ...stepsOf(member).map(x)) + 12;
        const perplexity = run === undefined ? undefined : headlineOf(run)?.perplexity;
        return (
          <g key={node.runId}>
            {parent !== undefined && <path d={`M${start} ${y(parent)}V${y(lane) - 8}Q${start} ${y(lane)} ${start + 8} ${y(lane)}`} />}
            <line class={node.runId === own ? 'own' : ''} x1={start} x2={end} y1={y(lane)} y2={y(lane)} />
            {abandoned.map(({ fromStep, endStep }) => (
              <path
                key={`${fromStep} ${endStep}`}
                class="abandoned"
                d={`M${x(fromStep)} ${y(lane)}q2 ${ABANDONED} 10 ${ABANDONED}H${Math.max(x(endStep), x(fromStep) + 12)}`}
              >
                <title>{`abandoned by a rewind: steps ${count(fromStep)} to ${count(endStep - 1)}`}</title>
              </path>
            ))}
            <circle class={`end ${statusTone(node)}`} cx={end} cy={y(lane)} r={5.5} />
            <a href={`/runs/${node.runId}`}>
              <text x={label} y={y(lane) - 2}>
                {cut(nameOf(node))}
              </text>
            </a>
            <text class="soft" x={label} y={y(lane) + 14}>
              {`${statusWordsOf(node)}, ${percent(node.hardSparsity, 0)} of ${percent(node.targetSparsity, 0)}`}
              {perplexity !== undefined && `, perplexity ${decimal(perplexity)}`}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

const cut = (name: string): string => (name.length > 34 ? `${name.slice(0, 33)}…` : name);
