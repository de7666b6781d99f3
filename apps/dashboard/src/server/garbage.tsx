// Finds artifacts that no run needs, and clears them away after a second press of the button. They lie in the quarantine for a week before
// they are removed.
import { useState } from 'preact/hooks';
import { artifactService, troubleOf } from '../api/client.js';
import { useTrouble } from '../api/loaded-data.js';
import { bytes, counted } from '../ui/format.js';
import { TroubleNote } from '../ui/pending.js';

interface Found {
  artifacts: number;
  setAsideBytes: number;
  freedBytes: number;
}

async function collect(dryRun: boolean): Promise<Found> {
  let found: Found = { artifacts: 0, setAsideBytes: 0, freedBytes: 0 };
  for await (const { artifacts, setAsideBytes, freedBytes } of artifactService.collectGarbage({ dryRun }))
    found = { artifacts: Number(artifacts), setAsideBytes: Number(setAsideBytes), freedBytes: Number(freedBytes) };
  return found;
}

export function Garbage({ done }: { done: () => void }) {
  const [found, setFound] = useState<Found>();
  const [cleared, setCleared] = useState<Found>();
  const [isBusy, setBusy] = useState(false);
  const [trouble, setTrouble] = useTrouble();
  const act = async (dryRun: boolean): Promise<void> => {
    setBusy(true);
    setTrouble(undefined);
    setCleared(undefined);
    try {
      const result = await collect(dryRun);
      setFound(dryRun ? result : undefined);
      if (!dryRun) {
        setCleared(result);
        done();
      }
    } catch (error) {
      setTrouble(troubleOf(error));
    }
    setBusy(false);
  };
  const words = ({ artifacts, setAsideBytes, freedBytes }: Found): string =>
    `${counted(artifacts, 'artifact')}, ${bytes(setAsideBytes + freedBytes)}`;
  return (
    <div class="bar below">
      <button disabled={isBusy} onClick={() => void act(true)}>
        Look for what no run needs
      </button>
      {found !== undefined && found.artifacts > 0 && (
        <button class="danger" disabled={isBusy} onClick={() => void act(false)}>
          Set aside {words(found)}
        </button>
      )}
      <span class="soft" role="status">
        {found?.artifacts === 0 && 'Nothing that is older than an hour.'}
        {found !== undefined && found.artifacts > 0 && 'It goes a week after it was set aside, and comes back if it is needed before.'}
        {cleared !== undefined && `Set aside: ${words(cleared)}.`}
      </span>
      <TroubleNote trouble={trouble} />
    </div>
  );
}
