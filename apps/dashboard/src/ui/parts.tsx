// Small parts that many views use.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import type { Trouble } from '../api/client.js';
import { viewPhase } from '../api/view-state.js';
import { missedTarget, standingOf, statusTone, statusWords } from './format.js';

export function Status({ run }: { run: Run }) {
  const standing = standingOf(run);
  const tone = statusTone(standing);
  return (
    <span class={`status ${tone}`}>
      <span class={`dot ${tone}`} />
      {statusWords(run.status)}
      {missedTarget(standing) && ', target missed'}
    </span>
  );
}

/** Shows a failure; nothing while the browser is logged out, which the whole page shows. */
export function TroubleNote({ trouble }: { trouble: Trouble | undefined }) {
  if (trouble === undefined || trouble.isLocked) return null;
  return (
    <p class="trouble" role="alert">
      {trouble.message} <code class="soft">{trouble.code}</code>
    </p>
  );
}

interface PendingProps {
  loaded: { data: unknown; trouble: Trouble | undefined; reload: () => void };
  /** The heading above the cause if the data can't be loaded: "No run k3f9". */
  heading?: string;
  children?: ComponentChildren;
}

/** Stands in place of data that is not there yet, or can't be loaded. */
export function Pending({ loaded: { data, trouble, reload }, heading = 'This can\u2019t be shown', children }: PendingProps) {
  const phase = viewPhase({ data, trouble });
  if (phase === 'locked') return null;
  if (phase === 'loading')
    return (
      <div class="skeleton" role="status" aria-label="Loading">
        <span />
        <span />
        <span />
      </div>
    );
  const isWaiting = phase === 'waiting';
  return (
    <div class="card empty" role="alert">
      <h2>{isWaiting && trouble?.isAway === true ? 'The server does not answer' : isWaiting ? 'Not ready yet' : heading}</h2>
      <p>
        {trouble?.isAway !== true && trouble?.message} {isWaiting && 'The page asks again by itself.'}
      </p>
      <p>
        <button onClick={reload}>Ask again</button> {children}
      </p>
    </div>
  );
}

/** An area that scrolls. Keys can reach it only if there is something to scroll. */
export function Scroll({ label, children, class: more = '' }: { label: string; children: ComponentChildren; class?: string }) {
  const element = useRef<HTMLDivElement>(null);
  const [isCut, setCut] = useState(false);
  useEffect(() => {
    const look = (): void => {
      const { scrollWidth, clientWidth, scrollHeight, clientHeight } = element.current!;
      setCut(scrollWidth > clientWidth || scrollHeight > clientHeight);
    };
    look();
    const resized = new ResizeObserver(look);
    resized.observe(element.current!);
    return () => resized.disconnect();
  }, [children]);
  return (
    <div class={`in scroll ${more}`} ref={element} {...(isCut ? { tabIndex: 0, role: 'group', 'aria-label': label } : {})}>
      {children}
    </div>
  );
}

export function Meter({ share, label }: { share: number; label: string }) {
  const shown = Math.max(0, Math.min(1, share));
  return (
    <span class="meter" role="progressbar" aria-label={label} aria-valuenow={Math.round(shown * 100)} aria-valuemin={0} aria-valuemax={100}>
      <span style={{ width: `${shown * 100}%` }} />
    </span>
  );
}

export function Sparkline({ values, label }: { values: number[]; label: string }) {
  const known = values.filter(Number.isFinite);
  if (known.length < 2) return <span class="soft">–</span>;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const y = (value: number): number => (high === low ? 14 : 26 - ((value - low) / (high - low)) * 24);
  const points = values.flatMap((value, index) =>
    Number.isFinite(value) ? [`${((index / (values.length - 1)) * 100).toFixed(2)} ${y(value).toFixed(2)}`] : [],
  );
  return (
    <svg class="spark" viewBox="0 0 100 28" preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={`M${points.join('L')}`} />
    </svg>
  );
}

export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog ref={element} aria-label={title} onClose={close} onCancel={close}>
      {children}
    </dialog>
  );
}

/** The words of a refusal that belong to no field of a form. @param isTarget the form moves the focus here */
export function FormRefusal({ words, isTarget = false }: { words: string; isTarget?: boolean }) {
  if (words === '') return null;
  return (
    <p class="trouble" role="alert" tabIndex={isTarget ? -1 : undefined}>
      {words}
    </p>
  );
}

interface FormDialogProps {
  title: string;
  /** The heading, if it asks more than the title says. */
  heading?: string;
  button: string;
  isDanger?: boolean;
  isSending?: boolean;
  send: (event: Event) => Promise<void>;
  close: () => void;
  children: ComponentChildren;
}

/** A dialog with a form: a heading, fields, a button that closes it, and a button that sends it. */
export function FormDialog({ title, heading = title, button, isDanger, isSending = false, send, close, children }: FormDialogProps) {
  return (
    <Dialog title={title} close={close}>
      <form onSubmit={(event) => void send(event)}>
        <header>
          <h2>{heading}</h2>
        </header>
        <div class="in">{children}</div>
        <footer>
          <button type="button" onClick={close}>
            Back
          </button>
          <button class={isDanger === true ? 'danger' : 'main'} type="submit" disabled={isSending}>
            {button}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** The strongest smoothing of curves. */
export const SMOOTHEST = 0.99;

export function Smoothing({ value, changed }: { value: number; changed: (value: number) => void }) {
  return (
    <label>
      Smoothing
      <input
        type="range"
        min={0}
        max={SMOOTHEST}
        step={0.01}
        value={value}
        onInput={({ currentTarget }) => changed(Number(currentTarget.value))}
      />
      <span class="num">{value.toFixed(2)}</span>
    </label>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: Readonly<Record<string, string>>;
  changed: (value: string) => void;
}

/** A choice of one of a few words. */
export function Choice({ label, value, options, changed }: ChoiceProps) {
  return (
    <label>
      {label}
      <select value={value} onChange={({ currentTarget }) => changed(currentTarget.value)}>
        {Object.entries(options).map(([id, words]) => (
          <option key={id} value={id}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}
