import { useEffect } from 'preact/hooks';
import { rememberedOf, withRemembered } from './chart-choices.js';
import { go, setQuery } from '../router.js';

const KEY = 'espalier.charts';
const NAMES = ['log', 'smooth', 'x', 'marks'];

/** Puts the remembered choices into the address, and returns a function that changes choices. */
export function useChartChoices(): (changes: Record<string, string>) => void {
  useEffect(() => {
    const next = withRemembered(new URLSearchParams(location.search), rememberedOf(localStorage.getItem(KEY), NAMES));
    if (next !== null) go(`${location.pathname}?${next.toString()}`, true);
  }, []);
  return (changes) => {
    setQuery(changes);
    localStorage.setItem(KEY, JSON.stringify({ ...rememberedOf(localStorage.getItem(KEY), NAMES), ...changes }));
  };
}
