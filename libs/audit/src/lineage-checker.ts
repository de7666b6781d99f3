import type { HistoryChecker, Problem } from './history-checker.js';

/** Checks that each fork starts from a state that its parent recorded before. `line`: a run, then its ancestors, the nearest first. */
export function lineageProblems(line: readonly string[], histories: ReadonlyMap<string, HistoryChecker>): Problem[] {
  const problems: Problem[] = [];
  const report = (runId: string, detail: string): void => {
    problems.push({ check: 'lineage', subject: `run ${runId} revision 0`, detail });
  };
  line.forEach((runId, index) => {
    const history = histories.get(runId);
    const fork = history?.fork ?? null;
    const parentId = line[index + 1];
    if (fork === null) {
      // If the first event is damaged, that is already reported.
      if (parentId !== undefined && history?.isWhole !== false) report(runId, `it was launched, not forked from ${parentId}`);
      return;
    }
    if (parentId === undefined) return report(runId, `it was forked from run ${fork.parentRunId}, whose events are not here`);
    if (fork.parentRunId !== parentId) return report(runId, `it was forked from run ${fork.parentRunId}, not from ${parentId}`);
    const parent = histories.get(parentId);
    if (parent === undefined) return report(runId, `the events of its parent ${parentId} are not here`);
    const recorded = parent.states.get(fork.stateDigest);
    const lacks = recorded === undefined ? parent.isWhole : recorded > fork.parentRevision;
    if (lacks) report(runId, `its state ${fork.stateDigest} was not recorded by run ${parentId} up to revision ${fork.parentRevision}`);
    if (parent.events <= fork.parentRevision) report(runId, `run ${parentId} has no revision ${fork.parentRevision}`);
  });
  return problems;
}
