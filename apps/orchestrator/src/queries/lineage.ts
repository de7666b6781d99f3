// Tells which run was forked from which.
import { v1 } from '#protocol';
import { isEvaluating } from '../views/run-status.js';
import type { RunViews } from '../views/run-views.js';

interface FamilyRow {
  runId: string;
  parentRunId: string | null;
}

/** The ancestors of a run, the nearest first. A parent that is not in this store ends the line. */
export function ancestorsOf(views: RunViews, runId: string): string[] {
  const rows = views.database
    .prepare(
      `
    WITH RECURSIVE line(run_id, depth) AS (
      SELECT parent_run_id, 1 FROM runs WHERE run_id = ? AND parent_run_id IS NOT NULL
      UNION ALL
      SELECT runs.parent_run_id, depth + 1 FROM line JOIN runs ON runs.run_id = line.run_id
      WHERE runs.parent_run_id IS NOT NULL AND depth < 10000)
    SELECT line.run_id AS runId FROM line JOIN runs ON runs.run_id = line.run_id ORDER BY depth`,
    )
    .all(runId) as { runId: string }[];
  return rows.map((row) => row.runId);
}

export function lineageOf(views: RunViews, runId: string): v1.GetLineageResponse {
  const ancestors = ancestorsOf(views, runId);
  const rows = views.database
    .prepare(
      `
    WITH RECURSIVE family(run_id) AS (
      SELECT ? UNION SELECT runs.run_id FROM family JOIN runs ON runs.parent_run_id = family.run_id)
    SELECT runs.run_id AS runId, runs.parent_run_id AS parentRunId
    FROM family JOIN runs ON runs.run_id = family.run_id ORDER BY launched_at_ms, runs.run_id`,
    )
    .all(ancestors.at(-1) ?? runId) as FamilyRow[];
  return { runId, ancestors, tree: depthFirst(views, rows, ancestors.at(-1) ?? runId) };
}

/** The family as a list in depth-first order. There is no recursion, since a line of forks may be long. */
function depthFirst(views: RunViews, rows: FamilyRow[], root: string): v1.LineageNode[] {
  const children = new Map<string, string[]>();
  for (const { runId, parentRunId } of rows) {
    if (runId !== root && parentRunId !== null) children.set(parentRunId, [...(children.get(parentRunId) ?? []), runId]);
  }
  const nodes: v1.LineageNode[] = [];
  const stack = [{ runId: root, depth: 0 }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { runId, depth } = next;
    const run = views.message(views.summaryOf(runId));
    nodes.push({
      runId,
      depth,
      name: run.name,
      parentRunId: run.parentRunId,
      forkedAtStep: run.forkedAtStep,
      status: run.status,
      evaluating: isEvaluating(run),
      targetSparsity: run.settings?.targetSparsity ?? 0,
      hardSparsity: run.hardSparsity,
      budget: run.budget,
    });
    for (const child of [...(children.get(runId) ?? [])].reverse()) stack.push({ runId: child, depth: depth + 1 });
  }
  return nodes;
}

/** The youngest run that both runs come from or are, and the step up to which they share a past. */
export function commonAncestor(views: RunViews, left: string, right: string): { runId: string; step: number } | null {
  const [ofLeft, ofRight] = [
    [left, ...ancestorsOf(views, left)],
    [right, ...ancestorsOf(views, right)],
  ] as const;
  const common = ofLeft.find((runId) => ofRight.includes(runId));
  if (common === undefined) return null;
  // Each side left the common run where its own line of forks began. A side that is the common run itself never left it.
  const leftAt = [ofLeft, ofRight].map((line) => {
    const heir = line[line.indexOf(common) - 1];
    return heir === undefined ? (views.peek(common)?.run.current?.step ?? 0) : (views.peek(heir)?.run.origin?.from.step ?? 0);
  });
  return { runId: common, step: Math.min(...leftAt) };
}
