// The field for a path on the server's machine. It is typed, or chosen from a list.
import { useState } from 'preact/hooks';
import { FileChooser } from './file-chooser.js';
import type { Wanted } from './file-words.js';
import { TextField, type TextFieldProps } from './text-field.js';

/** @param wanted what the path must lead to */
export function PathField({ wanted, ...field }: TextFieldProps & { wanted: Wanted }) {
  const [isOpen, setOpen] = useState(false);
  const close = (): void => setOpen(false);
  return (
    <div class="path">
      <TextField {...field} />
      <button type="button" onClick={() => setOpen(true)} aria-label={`Choose: ${field.label}`}>
        Choose
      </button>
      {isOpen && (
        <FileChooser
          title={`Choose: ${field.label}`}
          wanted={wanted}
          near={field.value}
          choose={(path) => {
            field.changed(path);
            close();
          }}
          close={close}
        />
      )}
    </div>
  );
}
