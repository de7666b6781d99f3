import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

/** An area that scrolls. Keys can reach it only if there is something to scroll. */
export function Scroll({ label, children, class: more = '' }: { label: string; children: ComponentChildren; class?: string }) {
  const element = useRef<HTMLDivElement>(null);
  const [isCut, setCut] = useState(false);
  useEffect(() => {
    const { current } = element;
    if (current === null) return undefined;
    const look = (): void => {
      const { scrollWidth, clientWidth, scrollHeight, clientHeight } = current;
      setCut(scrollWidth > clientWidth || scrollHeight > clientHeight);
    };
    look();
    const resized = new ResizeObserver(look);
    resized.observe(current);
    return () => resized.disconnect();
  }, [children]);
  return (
    <div class={`in scroll ${more}`} ref={element} {...(isCut ? { tabIndex: 0, role: 'group', 'aria-label': label } : {})}>
      {children}
    </div>
  );
}
