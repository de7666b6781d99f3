// The less frequent commands on a run.
import { useRef, useState } from 'preact/hooks';
import { useMay } from '../api/caller.js';
import { DescribeForm } from '../forms/describe-form.js';
import { LaunchForm } from '../forms/run/launch-form.js';
import { RoomForm } from '../forms/room-form.js';
import { RewindForm } from '../forms/run/rewind-form.js';
import { RunService, type Run } from '../generated/espalier/v1/run_service_pb.js';
import { download } from '../ui/save-file.js';
import { launchCommand, launchFile } from './command-words.js';

type OpenDialog = 'describe' | 'rewind' | 'clone' | 'room' | null;

interface Props {
  run: Run;
  mayRewind: boolean;
  /** Whether the run's teachers and exports may be removed. */
  mayThin: boolean;
  changed: () => void;
}

export function MoreMenu({ run, mayRewind, mayThin, changed }: Props) {
  const may = useMay();
  const menu = useRef<HTMLDetailsElement>(null);
  const [asked, setAsked] = useState<OpenDialog>(null);
  const [told, setTold] = useState('');
  const ask = (what: OpenDialog): void => {
    menu.current?.removeAttribute('open');
    setTold('');
    setAsked(what);
  };
  const copy = async (words: string, what: string): Promise<void> => {
    // Without TLS, browsers have no clipboard on a host other than this machine. The text is then downloaded as a file.
    if ('clipboard' in navigator) {
      await navigator.clipboard.writeText(words);
      setTold(`The ${what} is in the clipboard.`);
    } else {
      download(`${run.runId} launch.txt`, 'text/plain', words);
      setTold(`The ${what} was downloaded: this page may not write to the clipboard.`);
    }
  };
  const close = (): void => setAsked(null);
  const done = (): void => {
    close();
    changed();
  };
  return (
    <>
      <details class="menu" ref={menu}>
        <summary class="button">More</summary>
        <div class="card in">
          {may(RunService.method.describeRun, run.launchedBy) && (
            <button class="plain" onClick={() => ask('describe')}>
              Name, tags, note
            </button>
          )}
          {mayRewind && (
            <button class="plain" onClick={() => ask('rewind')}>
              Rewind to a teacher
            </button>
          )}
          {mayThin && (
            <button class="plain" onClick={() => ask('room')}>
              Make room
            </button>
          )}
          {may(RunService.method.launchRun) && (
            <button class="plain" onClick={() => ask('clone')}>
              Launch one like it
            </button>
          )}
          <button class="plain" onClick={() => void copy(launchCommand(run), 'command')}>
            Copy as command
          </button>
          <button class="plain" onClick={() => void copy(launchFile(run), 'file')}>
            Copy as YAML
          </button>
          <p class="soft" role="status">
            {told}
          </p>
        </div>
      </details>
      {asked === 'describe' && <DescribeForm run={run} close={close} done={done} />}
      {asked === 'rewind' && <RewindForm run={run} close={close} done={done} />}
      {asked === 'room' && <RoomForm run={run} close={close} done={done} />}
      {asked === 'clone' && <LaunchForm like={run} close={close} />}
    </>
  );
}
