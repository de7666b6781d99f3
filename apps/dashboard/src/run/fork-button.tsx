/** In a row of a table of teachers. */
export function ForkButton({ mark, fork }: { mark: number; fork: () => void }) {
  return (
    <button class="plain" onClick={fork} aria-label={`Fork at teacher ${mark}`}>
      Fork
    </button>
  );
}
