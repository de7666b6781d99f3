// The settings of a run as fields of a form.
import { troubleOf, type Trouble } from '../../api/client.js';
import { ChoiceField } from '../fields/choice-field.js';
import { TextField } from '../fields/text-field.js';
import { FieldProblem } from '../form-troubles.js';
import {
  emptyWords,
  fallbackOf,
  SETTING_FIELDS,
  type Fallback,
  type ForkSettings,
  type SettingField,
  type Typed,
} from './setting-table.js';

const FIRST = ['preset', 'recipe', 'target_sparsity', 'total_steps', 'recover_steps', 'batch_size', 'sequence_length', 'seed'];

/** Converts an error of a form, which the server or the page itself has refused. */
export function formTroubleOf(error: unknown): Trouble {
  const trouble = troubleOf(error);
  if (!(error instanceof FieldProblem)) return trouble;
  return { ...trouble, isAway: false, isPassing: false, fields: [{ field: error.field, description: error.message }] };
}

interface Props {
  typed: Typed;
  changed: (name: string, typed: Typed) => void;
  /** Set for the form of a fork, which shows only settings that a fork may change. */
  fork?: ForkSettings;
  /** Why the server refuses a field, by the names of the protocol. */
  wrong: Readonly<Record<string, string>>;
}

export function SettingsFields({ typed, changed, fork, wrong }: Props) {
  const fields = SETTING_FIELDS.filter(({ mayFork }) => fork === undefined || mayFork);
  const show = (field: SettingField) => (
    <Field
      key={field.name}
      field={field}
      value={typed[field.name] ?? ''}
      fallback={fallbackOf(field, typed, fork)}
      wrong={wrong[`settings.${field.name}`]}
      changed={(value) => changed(field.name, { ...typed, [field.name]: value })}
    />
  );
  return (
    <>
      <div class="fields">{fields.filter(({ name }) => FIRST.includes(name)).map(show)}</div>
      <details>
        <summary>All other settings</summary>
        <br />
        <div class="fields">{fields.filter(({ name }) => !FIRST.includes(name)).map(show)}</div>
      </details>
    </>
  );
}

interface FieldProps {
  field: SettingField;
  value: string;
  fallback: Fallback;
  wrong: string | undefined;
  changed: (value: string) => void;
}

const YES_OR_NO: SettingField['choices'] = [
  ['true', 'yes'],
  ['false', 'no'],
];

/** A time has its unit in its range. */
const unitWords = (unit: string): string => (unit === '' || unit === 'time' ? '' : ` ${unit}`);

function Field({ field: { name, help, range, unit, choices, kind }, value, fallback, wrong, changed }: FieldProps) {
  const row = { label: name.replaceAll('_', ' '), help: `${help}${range && `: ${range}`}${unitWords(unit)}`, value, changed, wrong };
  if (kind !== 'choice' && kind !== 'flag')
    return <TextField {...row} placeholder={fallback.value} inputMode={kind === 'number' ? 'decimal' : 'text'} />;
  return <ChoiceField {...row} options={[['', emptyWords(fallback)], ...(kind === 'flag' ? YES_OR_NO : choices)]} />;
}
