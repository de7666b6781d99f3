// Tells whether the server was updated since the page was loaded.
import { namesProgram } from './page-build.js';

export async function isOutdated(signal: AbortSignal): Promise<boolean> {
  const program = document.querySelector('script[type=module][src]')?.getAttribute('src') ?? '';
  const answer = await fetch('/', { signal, cache: 'no-cache' });
  return answer.ok && program !== '' && !namesProgram(await answer.text(), program);
}
