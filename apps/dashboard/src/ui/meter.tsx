/** A bar that is filled to a share. */
export function Meter({ share, label }: { share: number; label: string }) {
  const shown = Math.max(0, Math.min(1, share));
  return (
    <span class="meter" role="progressbar" aria-label={label} aria-valuenow={Math.round(shown * 100)} aria-valuemin={0} aria-valuemax={100}>
      <span style={{ width: `${shown * 100}%` }} />
    </span>
  );
}
