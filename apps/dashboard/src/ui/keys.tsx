// Obeys single keys, and shows what they do. A reader can turn them off, since some people speak to their computer, or press keys by
// chance.
import { useEffect, useRef, useState } from 'preact/hooks';
import { Dialog } from './dialog.js';
import { commandOf, KEYS, type KeyCommand } from './key-commands.js';
import { go } from './router.js';

const OFF = 'espalier.keys-off';
/** The time in which the second of two keys must follow the first. */
const PAIR_MS = 1_500;
/** A link of this kind leads to what its row shows. */
const ROW_LINKS = 'main :is([role=row] .name a, td:first-child > a)';

export function Keys() {
  const [isShown, setShown] = useState(false);
  const before = useRef({ key: '', at: 0 });
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target) || document.querySelector('dialog[open]') !== null)
        return;
      if (localStorage.getItem(OFF) === '1' && event.key !== '?') return;
      const first = event.timeStamp - before.current.at < PAIR_MS ? before.current.key : '';
      const command = commandOf(event.key, first);
      before.current = command === 'wait' ? { key: event.key, at: event.timeStamp } : { key: '', at: 0 };
      if (command === undefined || command === 'wait') return;
      event.preventDefault();
      if (command.kind === 'help') setShown(true);
      else obey(command);
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);
  return isShown ? <KeyHelp close={() => setShown(false)} /> : null;
}

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && target.matches('input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]');

function obey(command: KeyCommand): void {
  if (command.kind === 'go') go(command.to);
  else if (command.kind === 'search') search();
  else if (command.kind === 'choose')
    document.activeElement?.closest('[role=row]')?.querySelector<HTMLInputElement>('input[type=checkbox]')?.click();
  else {
    const links = [...document.querySelectorAll<HTMLElement>(ROW_LINKS)];
    const at = links.findIndex(
      (link) => link === document.activeElement || link.closest('[role=row], tr')?.contains(document.activeElement) === true,
    );
    links[Math.max(0, at < 0 ? 0 : at + (command.kind === 'next' ? 1 : -1))]?.focus();
  }
}

function search(): void {
  const field = (): HTMLInputElement | null => document.querySelector('main [role=search] input[type=search]');
  const here = field();
  if (here !== null) {
    here.focus();
    return;
  }
  go('/');
  requestAnimationFrame(() => requestAnimationFrame(() => field()?.focus()));
}

function KeyHelp({ close }: { close: () => void }) {
  const [isOff, setOff] = useState(localStorage.getItem(OFF) === '1');
  return (
    <Dialog title="Keys" close={close}>
      <header>
        <h2>Keys</h2>
      </header>
      <div class="in">
        <table class="plain">
          <tbody>
            {KEYS.map(([keys, words]) => (
              <tr key={keys}>
                <th scope="row">
                  <kbd>{keys}</kbd>
                </th>
                <td>{words}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="below">
          <label>
            <input
              type="checkbox"
              checked={!isOff}
              onChange={({ currentTarget: { checked } }) => {
                localStorage.setItem(OFF, checked ? '0' : '1');
                setOff(!checked);
              }}
            />
            Single keys are commands
          </label>
        </p>
        <p class="soft">Tab reaches everything; the arrows move within an open menu, and Escape closes it.</p>
      </div>
      <footer>
        <button onClick={close}>Close</button>
      </footer>
    </Dialog>
  );
}
