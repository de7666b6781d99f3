// A field whose text counts only once it is finished. Until then it keeps the text itself: a view that changes as a run goes on is
// drawn anew at any moment, and would put the value that counted before back into a field that is being typed in.
import type { InputHTMLAttributes } from 'preact';
import { useRef, useState } from 'preact/hooks';

type Props = {
  value: string;
  changed: (value: string) => void;
  /** The text counts after so long without a key; without this, when the field is left or Enter is pressed. */
  pauseMs?: number;
} & Omit<InputHTMLAttributes, 'value' | 'onInput' | 'onChange'>;

export function Typed({ value, changed, pauseMs, ...rest }: Props) {
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const [typed, setTyped] = useState<string>();
  const finish = (text: string): void => {
    clearTimeout(timer.current);
    changed(text);
    setTyped(undefined);
  };
  return (
    <input
      {...rest}
      value={typed ?? value}
      onInput={({ currentTarget: { value: text } }) => {
        setTyped(text);
        clearTimeout(timer.current);
        if (pauseMs !== undefined) timer.current = setTimeout(() => finish(text), pauseMs);
      }}
      onChange={({ currentTarget: { value: text } }) => finish(text)}
    />
  );
}
