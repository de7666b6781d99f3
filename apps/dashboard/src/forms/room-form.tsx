// The form for removing teachers and exports of a run to make room. It first shows what would be removed. The history keeps a list and the
// reason.
import { useState } from 'preact/hooks';
import { artifactService } from '../api/client.js';
import type { DiscardArtifactsResponse } from '../generated/espalier/v1/artifact_service_pb.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { nameOf } from '../runs/columns.js';
import { bytes, count } from '../ui/format.js';
import { FormDialog, FormRefusal } from '../ui/dialog.js';
import { boundTo } from './fields/bound-field.js';
import { Check } from './fields/choice-field.js';
import { useRefusal } from './form-refusal.js';
import { wholeNumber } from './subjects.js';
import { TextField } from './fields/text-field.js';

const TIMEOUT_MS = 600_000;

export function RoomForm({ run, close, done }: { run: Run; close: () => void; done: () => void }) {
  const [values, setValues] = useState({ keepEvery: '', abandoned: false, exports: false, reason: '' });
  const [told, setTold] = useState<DiscardArtifactsResponse>();
  const { byField, rest, isSending, inside, send, changed } = useRefusal({ fields: ['keep_every', 'abandoned', 'exports', 'reason'] });
  const change = (field: string, part: Partial<typeof values>): void => {
    changed(field);
    setTold(undefined); // the shown list belongs to the old values
    setValues({ ...values, ...part });
  };
  const of = boundTo({ values, wrong: byField, changed: change });
  const mayGo = told !== undefined && told.artifacts.length > 0;
  const discard = (event: Event): Promise<void> =>
    send(event, async () => {
      const { keepEvery, ...others } = values;
      const asked = {
        runId: run.runId,
        ...others,
        ...(keepEvery.trim() === '' ? {} : { keepEvery: wholeNumber(keepEvery, 'keep_every') }),
      };
      const answer = await artifactService.discardArtifacts({ ...asked, dryRun: !mayGo }, { timeoutMs: TIMEOUT_MS });
      if (mayGo) done();
      else setTold(answer);
    });
  const size = told === undefined ? '' : `${count(told.artifacts.length)} artifacts, ${bytes(told.freedBytes)}`;
  return (
    <FormDialog
      title={`Make room in ${nameOf(run)}`}
      button={mayGo ? `Throw away ${size}` : 'Show what would go'}
      isDanger={mayGo}
      isSending={isSending}
      send={discard}
      close={close}
    >
      <div ref={inside}>
        <FormRefusal words={rest} isTarget />
        <div class="fields">
          <TextField
            label="Teachers to keep"
            help="5 keeps every fifth teacher and the last one; empty: all stay"
            {...of('keepEvery', 'keep_every')}
            isFirst
          />
          <TextField label="Reason, for the history" {...of('reason')} />
          <Check
            label="The teachers of abandoned branches go"
            checked={values.abandoned}
            changed={(abandoned) => change('abandoned', { abandoned })}
          />
          <Check label="The server's copies of exports go" checked={values.exports} changed={(exports) => change('exports', { exports })} />
        </div>
      </div>
      <p>
        The last state, the beginnings of forks and all that other runs need stay. Steps that a lost teacher instructed can&rsquo;t be
        replayed any more.
      </p>
      <p role="status">{told !== undefined && (told.artifacts.length === 0 ? 'Nothing would go.' : `${size} would go for good.`)}</p>
    </FormDialog>
  );
}
