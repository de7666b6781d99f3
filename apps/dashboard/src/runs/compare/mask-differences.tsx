// Shows where the masks of a run differ from the baseline's, layer by layer.
import { runService } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { LayerDifference, Run } from '../../generated/espalier/v1/run_service_pb.js';
import { count, percent } from '../../ui/format.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { TroubleNote } from '../../ui/pending.js';
import { Heads } from '../../ui/heads.js';
import { Scroll } from '../../ui/scroll.js';
import { nameOf } from '../columns.js';

interface Props {
  baseline: Run;
  /** The run that is compared with the baseline. */
  other: Run;
  /** The names of all runs that can be chosen, by their ids. */
  others: Readonly<Record<string, string>>;
  choose: (runId: string) => void;
}

export function MaskDifferences({ baseline, other, others, choose }: Props) {
  const { data, trouble } = useLoaded(
    `masks ${baseline.runId} ${other.runId}`,
    async (signal) => (await runService.compareRuns({ leftRunId: baseline.runId, rightRunId: other.runId }, { signal })).layers,
    `${baseline.step} ${other.step}`,
  );
  return (
    <section class="card" aria-label="Where masks differ">
      <header>
        <h2>Where masks differ</h2>
        <LabelledSelect label="Run" value={other.runId} options={others} changed={choose} />
        <span class="soft">beside the baseline {nameOf(baseline)}, in their last states</span>
      </header>
      <Scroll label={`Masks of ${nameOf(other)} beside the baseline`}>
        <TroubleNote trouble={trouble} />
        <table class="plain num">
          <Heads
            names={[
              'Layer',
              'Sparsity of the baseline',
              'Sparsity of the run',
              'Heads open in the baseline only',
              'Heads open in the run only',
              'Units open in the baseline only',
              'Units open in the run only',
            ]}
            numbers={['Sparsity of the baseline', 'Sparsity of the run', 'Units open in the baseline only', 'Units open in the run only']}
          />
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
