// The two fields by which people find a new run again: its name and its tags.
import { TextField, type TextFieldProps } from '../fields/text-field.js';

interface Props {
  of: (name: 'name' | 'tags') => Pick<TextFieldProps, 'value' | 'changed' | 'wrong'>;
}

export function NameAndTags({ of }: Props) {
  return (
    <>
      <TextField label="Name" {...of('name')} />
      <TextField label="Tags" help="with commas between" {...of('tags')} />
    </>
  );
}
