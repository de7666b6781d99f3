import { useEffect } from 'preact/hooks';
import { rememberedOf, withRemembered } from './choices.js';
import { go, setQuery } from './router.js';

const KEY = 'espalier.charts';
const NAMES = ['log', 'smooth', 'x', 'marks'];

/** Puts what was remembered into the address, and gives the way to choose something else. */
export function useChoices(): (changes: Record<string, string>) => void {
  useEffect(() => {
    const next = withRemembered(new URLSearchParams(location.search), rememberedOf(localStorage.getItem(KEY), NAMES));
    if (next !== null) go(`${location.pathname}?${next.toString()}`, true);
  }, []);
  return (changes) => {
    setQuery(changes);
    localStorage.setItem(KEY, JSON.stringify({ ...rememberedOf(localStorage.getItem(KEY), NAMES), ...changes }));
  };
}
