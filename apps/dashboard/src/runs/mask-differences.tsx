// Where the masks of a run differ from the baseline's, layer by layer.
import { runService } from '../api/client.js';
import { useLoaded } from '../api/loaded.js';
import type { LayerDifference, Run } from '../generated/espalier/v1/run_service_pb.js';
import { count, percent } from '../ui/format.js';
import { Scroll, TroubleNote } from '../ui/parts.js';
import { nameOf } from './columns.js';

export function MaskDifferences({ baseline, other }: { baseline: Run; other: Run }) {
  const { data, trouble } = useLoaded(
    `masks ${baseline.runId} ${other.runId}`,
    async (signal) => (await runService.compareRuns({ leftRunId: baseline.runId, rightRunId: other.runId }, { signal })).layers,
    `${baseline.step} ${other.step}`,
  );
  return (
    <section class="card" aria-label={`Masks of ${nameOf(other)} beside the baseline`}>
      <header>
        <h2>Masks: {nameOf(other)}</h2>
        <span class="soft">beside {nameOf(baseline)}, by their last states</span>
      </header>
      <Scroll label={`Masks of ${nameOf(other)} beside the baseline`}>
        <TroubleNote trouble={trouble} />
        <table class="plain num">
          <thead>
            <tr>
              <th>Layer</th>
              <th class="right">Sparsity, baseline</th>
              <th class="right">this run</th>
              <th>Heads open only there</th>
              <th>only here</th>
              <th class="right">Units open only there</th>
              <th class="right">only here</th>
            </tr>
          </thead>
          <tbody>
            {data?.map((one) => (
              <Layer key={one.layer} {...one} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function Layer({ layer, sparsityLeft, sparsityRight, headsOnlyLeft, headsOnlyRight, unitsOnlyLeft, unitsOnlyRight }: LayerDifference) {
  return (
    <tr>
      <td>{layer}</td>
      <td class="right">{percent(sparsityLeft)}</td>
      <td class="right">{percent(sparsityRight)}</td>
      <td>{headsOnlyLeft.join(', ') || '–'}</td>
      <td>{headsOnlyRight.join(', ') || '–'}</td>
      <td class="right">{count(unitsOnlyLeft.length)}</td>
      <td class="right">{count(unitsOnlyRight.length)}</td>
    </tr>
  );
}
