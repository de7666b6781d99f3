// A panel of text. The library that reads Markdown is loaded with the first text that is shown.
import { useEffect, useState } from 'preact/hooks';

export function TextPanel({ title, markdown }: { title: string; markdown: string }) {
  const [html, setHtml] = useState('');
  useEffect(() => {
    let isShown = true;
    void import('./markdown.js').then(({ toHtml }) => isShown && setHtml(toHtml(markdown, title === '' ? 1 : 2)));
    return () => void (isShown = false);
  }, [markdown, title]);
  return (
    <section class="card text-panel" aria-label={title === '' ? 'Text' : title}>
      {title !== '' && (
        <header>
          <h2>{title}</h2>
        </header>
      )}
      <div class="in prose" dangerouslySetInnerHTML={{ __html: html }} />
    </section>
  );
}
