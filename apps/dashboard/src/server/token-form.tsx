// The form of a new token.
import { useState } from 'preact/hooks';
import { roleWord } from '../api/allowed-calls.js';
import { accessService } from '../api/client.js';
import { ChoiceField } from '../forms/fields/choice-field.js';
import { useRefusal } from '../forms/form-refusal.js';
import { wholeNumber } from '../forms/subjects.js';
import { TextField } from '../forms/fields/text-field.js';
import { Role } from '../generated/espalier/v1/access_pb.js';
import { FormDialog, FormRefusal } from '../ui/dialog.js';

export interface Made {
  name: string;
  secret: string;
}

const ROLES = [Role.VIEWER, Role.OPERATOR, Role.ADMIN];
const DAYS = '30';

export function TokenForm({ close, done }: { close: () => void; done: (made: Made) => void }) {
  const [values, setValues] = useState({ name: '', role: roleWord(Role.VIEWER), days: DAYS });
  const { byField, rest, isSending, inside, send, changed } = useRefusal({ fields: ['name', 'role', 'days'] });
  const change = (field: keyof typeof values, value: string): void => {
    changed(field);
    setValues((before) => ({ ...before, [field]: value }));
  };
  const make = (event: Event): Promise<void> =>
    send(event, async () => {
      const { name } = values;
      const { secret } = await accessService.createToken({
        name,
        role: ROLES.find((one) => roleWord(one) === values.role)!,
        days: wholeNumber(values.days, 'days'),
      });
      done({ name, secret });
    });
  return (
    <FormDialog title="New token" button="Make the token" isSending={isSending} send={make} close={close}>
      <div ref={inside}>
        <FormRefusal words={rest} isTarget />
        <div class="fields">
          <TextField
            label="Name"
            help="of its owner; the history shows its calls as those of token:NAME"
            value={values.name}
            changed={(name) => change('name', name)}
            wrong={byField['name']}
            needed
            wide
            isFirst
          />
          <ChoiceField
            label="Role"
            help="A viewer reads. An operator also launches, evaluates and exports. An admin may do everything."
            value={values.role}
            options={ROLES.map((role) => [roleWord(role), roleWord(role)] as const)}
            changed={(role) => change('role', role)}
            wrong={byField['role']}
          />
          <TextField
            label="Days"
            help="for which it is valid, 1 to 3,650"
            value={values.days}
            changed={(days) => change('days', days)}
            wrong={byField['days']}
            needed
          />
        </div>
      </div>
    </FormDialog>
  );
}
