// The file that proves a run on any machine, to download.
import { useEffect, useRef, useState } from 'preact/hooks';
import { May } from '../api/caller.js';
import { isAbort, troubleOf } from '../api/client.js';
import { useTrouble } from '../api/loaded.js';
import { saveAudit } from '../api/save-artifact.js';
import { HistoryService } from '../generated/espalier/v1/history_service_pb.js';
import { bytes } from '../ui/format.js';
import { TroubleNote } from '../ui/parts.js';

export function AuditBundle({ runId }: { runId: string }) {
  const [trouble, setTrouble] = useTrouble();
  const [done, setDone] = useState<number | null>(null);
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const save = async (): Promise<void> => {
    setTrouble(undefined);
    stop.current = new AbortController();
    setDone(0);
    try {
      await saveAudit(runId, setDone, stop.current.signal);
    } catch (error) {
      if (!isAbort(error)) setTrouble(troubleOf(error));
    }
    setDone(null);
  };
  return (
    <May call={HistoryService.method.exportAudit}>
      <br />
      <p>
        The audit bundle holds events, digests, environment and recipe in one file. <code>espalier audit check FILE</code> checks it on any
        machine, without a server.
      </p>
      <p>
        {done === null ? (
          <button type="button" onClick={() => void save()}>
            Download the audit bundle
          </button>
        ) : (
          <button type="button" onClick={() => stop.current.abort()}>
            Stop, {bytes(done)} so far
          </button>
        )}
      </p>
      <TroubleNote trouble={trouble} />
    </May>
  );
}
