// A part of a page that folds to one line, so that what is below it comes first. The browser remembers which parts a reader unfolded.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

const KEY = 'espalier.unfolded.';

interface Props {
  /** The name under which the browser remembers it. */
  id: string;
  title: string;
  /** The line that stands for the part while it is folded. */
  words: ComponentChildren;
  /** Whether it is unfolded until the reader decides. */
  isOpenAtFirst?: boolean;
  children: ComponentChildren;
}

export function Fold({ id, title, words, isOpenAtFirst = false, children }: Props) {
  const [isOpen, setOpen] = useState(() => (localStorage.getItem(KEY + id) ?? (isOpenAtFirst ? '1' : '0')) === '1');
  const toggled = (is: boolean): void => {
    if (is === isOpenAtFirst) localStorage.removeItem(KEY + id);
    else localStorage.setItem(KEY + id, is ? '1' : '0');
    setOpen(is);
  };
  return (
    <details class="card fold" open={isOpen} onToggle={({ currentTarget }) => toggled(currentTarget.open)}>
      <summary>
        <b>{title}</b>
        {!isOpen && <span class="soft num">{words}</span>}
      </summary>
      {isOpen && children}
    </details>
  );
}
