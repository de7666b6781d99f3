// A field whose text counts only when it is finished. Until then the field keeps the text itself: a view that changes with a run is drawn
// again at any moment, and would otherwise replace the text that is being typed by the old value.
import type { InputHTMLAttributes } from 'preact';
import { useRef, useState } from 'preact/hooks';

type Props = {
  value: string;
  changed: (value: string) => void;
  /** The time in ms after the last key when the text counts; undefined: it counts when the field is left or Enter is pressed. */
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
