import type { LineageNode } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { Anchor } from '../ui/router.js';

/** Links to the runs that were forked from a teacher. */
export function Forks({ forks }: { forks: readonly LineageNode[] }) {
  return (
    <>
      {forks.map((node) => (
        <Anchor key={node.runId} to={`/runs/${node.runId}`}>
          {nameOf(node)}{' '}
        </Anchor>
      ))}
    </>
  );
}
