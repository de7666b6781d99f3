// Many runs from one text: written or pasted here, checked by the server run by run, and started.
import { useEffect, useRef, useState } from 'preact/hooks';
import { studyService, type Trouble } from '../api/client.js';
import { useDraft } from '../forms/draft.js';
import { formTroubles, withoutField } from '../forms/form-troubles.js';
import { formTroubleOf } from '../forms/settings-fields.js';
import { PathField } from '../forms/path-field.js';
import { FormDialog, FormRefusal } from '../ui/parts.js';
import { go } from '../ui/router.js';
import { EXAMPLE, inLineWords, lineOf, rangeOfLine } from './study-file.js';

const CHECK_TIMEOUT_MS = 600_000;

export function StudyForm({ close }: { close: () => void }) {
  const draft = useDraft('study', { yaml: '', folder: '' });
  const { yaml, folder } = draft.values;
  const [refusal, setRefusal] = useState<Trouble>();
  const [isSending, setSending] = useState(false);
  const text = useRef<HTMLTextAreaElement>(null);
  const { byField, rest } = formTroubles(refusal, ['yaml', 'folder']);
  const wrong = byField['yaml'];
  useEffect(() => {
    const line = wrong === undefined ? null : lineOf(wrong);
    if (line === null || text.current === null) return;
    text.current.focus();
    text.current.setSelectionRange(...rangeOfLine(text.current.value, line));
  }, [wrong]);
  const change = (field: 'yaml' | 'folder', value: string): void => {
    setRefusal((before) => withoutField(before, field));
    draft.change({ [field]: value });
  };
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    setSending(true);
    setRefusal(undefined);
    try {
      const { study } = await studyService.launchStudyFile({ yaml, folder: folder.trim() }, { timeoutMs: CHECK_TIMEOUT_MS });
      draft.drop();
      close();
      go(`/studies/${study!.studyId}`);
    } catch (error) {
      setRefusal(formTroubleOf(error));
      setSending(false);
    }
  };
  return (
    <FormDialog
      title="Launch a study"
      button={isSending ? 'Checking every run …' : 'Launch'}
      isSending={isSending}
      send={send}
      close={close}
    >
      <FormRefusal words={inLineWords(rest)} />
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
          help="on the server's machine; empty: the one that the server was started in"
          value={folder}
          changed={(value) => change('folder', value)}
          wrong={byField['folder']}
          wide
        />
      </div>
      {yaml === '' && (
        <button type="button" onClick={() => change('yaml', EXAMPLE)}>
          Begin with an example
        </button>
      )}
    </FormDialog>
  );
}
