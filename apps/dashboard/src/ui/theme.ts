// The light or dark theme. It follows the system, unless the reader chose one of the two.
import { useEffect, useState } from 'preact/hooks';

type Choice = 'system' | 'light' | 'dark';
const KEY = 'espalier.theme';
const system = matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();

function chosen(): Choice {
  const stored = localStorage.getItem(KEY);
  return stored === 'light' || stored === 'dark' ? stored : 'system';
}

function isDark(): boolean {
  return chosen() === 'system' ? system.matches : chosen() === 'dark';
}

export function applyTheme(): void {
  document.documentElement.dataset['theme'] = isDark() ? 'dark' : 'light';
  for (const listener of listeners) listener();
}
system.addEventListener('change', applyTheme);

export function toggleTheme(): void {
  const next = isDark() ? 'light' : 'dark';
  // If the choice is the system's theme, it is not stored, so that the page follows the system again.
  if ((next === 'dark') === system.matches) localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, next);
  applyTheme();
}

/** Returns the theme; the component is drawn again when it changes. */
export function useTheme(): 'light' | 'dark' {
  const [dark, setDark] = useState(isDark());
  useEffect(() => {
    const changed = (): void => setDark(isDark());
    listeners.add(changed);
    return () => void listeners.delete(changed);
  }, []);
  return dark ? 'dark' : 'light';
}

/** Returns a colour of the style sheet, for drawing on a canvas. */
export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
