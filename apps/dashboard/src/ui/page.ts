// The pages that the head links to. Each is a file NAME.page.tsx that exports `page`; its address is /NAME. app.tsx collects the files, and
// the build lists the addresses for the server (vite.config.js).
import type { JSX } from 'preact';

export interface Page {
  /** Its link and its title. */
  name: string;
  /** Its place among the links: the lowest comes first. */
  place: number;
  View: (props: { query: URLSearchParams; launch: () => void }) => JSX.Element;
}

const HOME = '/runs';

/** Returns the address of the page in a file. */
export function addressOf(file: string): string {
  const path = `/${/([\w-]+)\.page\.tsx$/.exec(file)?.[1] ?? ''}`;
  return path === HOME ? '/' : path;
}
