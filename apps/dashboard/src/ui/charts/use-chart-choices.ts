import { useEffect } from 'preact/hooks';
import { rememberedOf, withRemembered } from './chart-choices.js';
import { go, setQuery } from '../router.js';

const KEY = 'espalier.charts';
/** Smoothing is not among them: it changes what a line says, so it holds only for the page where a reader asked for it. */
const NAMES = ['log', 'x', 'marks'];

/** Puts the remembered choices into the address, and returns a function that changes choices. */
export function useChartChoices(): (changes: Record<string, string>) => void {
  useEffect(() => {
    const next = withRemembered(new URLSearchParams(location.search), rememberedOf(localStorage.getItem(KEY), NAMES));
    if (next !== null) go(`${location.pathname}?${next.toString()}`, true);
  }, []);
  return (changes) => {
    setQuery(changes);
    const kept = Object.fromEntries(Object.entries(changes).filter(([name]) => NAMES.includes(name)));
    localStorage.setItem(KEY, JSON.stringify({ ...rememberedOf(localStorage.getItem(KEY), NAMES), ...kept }));
  };
}
