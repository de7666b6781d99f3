// The form that starts many runs from one text. The text is written or pasted here, and the server checks it run by run.
import { useEffect, useRef } from 'preact/hooks';
import { studyService } from '../api/client.js';
import { useDraft } from '../forms/form-draft.js';
import { PathField } from '../forms/fields/path-field.js';
import { useRefusal } from '../forms/form-refusal.js';
import { FormDialog, FormRefusal } from '../ui/dialog.js';
import { go } from '../ui/router.js';
import { EXAMPLE, inLineWords, lineOf, rangeOfLine } from './study-file.js';

const CHECK_TIMEOUT_MS = 600_000;

export function StudyForm({ close }: { close: () => void }) {
  const draft = useDraft('study', { yaml: '', folder: '' });
  const { yaml, folder } = draft.values;
  const text = useRef<HTMLTextAreaElement>(null);
  const { byField, rest, isSending, inside, send, changed } = useRefusal({ fields: ['yaml', 'folder'] });
  const wrong = byField['yaml'];
  useEffect(() => {
    const line = wrong === undefined ? null : lineOf(wrong);
    if (line === null || text.current === null) return;
    text.current.focus();
    text.current.setSelectionRange(...rangeOfLine(text.current.value, line));
  }, [wrong]);
  const change = (field: 'yaml' | 'folder', value: string): void => {
    changed(field);
    draft.change({ [field]: value });
  };
  const launch = (event: Event): Promise<void> =>
    send(event, async () => {
      const { study } = await studyService.launchStudyFile({ yaml, folder: folder.trim() }, { timeoutMs: CHECK_TIMEOUT_MS });
      draft.drop();
      close();
      go(`/studies/${study!.studyId}`);
    });
  return (
    <FormDialog
      title="Launch a study"
      button={isSending ? 'Checking every run …' : 'Launch'}
      isSending={isSending}
      send={launch}
      close={close}
    >
      <div ref={inside}>
        <FormRefusal words={inLineWords(rest)} isTarget />
        <div class="fields">
          <label class="field wide">
            <span>File</span>
            <textarea
              ref={text}
              class="mono"
              rows={16}
              required
              spellcheck={false}
              autofocus
              maxLength={262_144}
              aria-invalid={wrong !== undefined}
              aria-describedby={wrong === undefined ? undefined : 'study-refusal'}
              value={yaml}
              onInput={({ currentTarget }) => change('yaml', currentTarget.value)}
            />
            {wrong !== undefined && (
              <span class="wrong" id="study-refusal" role="alert">
                {inLineWords(wrong)}
              </span>
            )}
            <small>YAML: variants, grids of settings, and seeds. A study that is there already gets the runs that it does not have.</small>
          </label>
          <PathField
            wanted="folder"
            label="Folder of relative paths"
            help="on the server's machine; empty: the folder that the server was started in"
            value={folder}
            changed={(value) => change('folder', value)}
            wrong={byField['folder']}
            wide
          />
        </div>
      </div>
      {yaml === '' && (
        <button type="button" onClick={() => change('yaml', EXAMPLE)}>
          Begin with an example
        </button>
      )}
    </FormDialog>
  );
}
