// The two fields by which people find a new run again: its name and its tags.
import type { FormTroubles } from '../form-troubles.js';
import { TextField } from '../fields/text-field.js';

interface Words {
  name: string;
  tags: string;
}

interface Props {
  values: Words;
  wrong: FormTroubles['byField'];
  changed: (field: keyof Words, part: Partial<Words>) => void;
}

export function NameAndTags({ values, wrong, changed }: Props) {
  return (
    <>
      <TextField label="Name" value={values.name} changed={(name) => changed('name', { name })} wrong={wrong['name']} />
      <TextField
        label="Tags"
        help="with commas between"
        value={values.tags}
        changed={(tags) => changed('tags', { tags })}
        wrong={wrong['tags']}
      />
    </>
  );
}
