// Downloads the file that proves a run on any machine.
import { May } from '../../api/caller.js';
import { useDownload } from '../../api/download-progress.js';
import { saveAudit } from '../../api/save-artifact.js';
import { HistoryService } from '../../generated/espalier/v1/history_service_pb.js';
import { bytes } from '../../ui/format.js';
import { TroubleNote } from '../../ui/pending.js';

export function AuditBundle({ runId }: { runId: string }) {
  const { progress: done, trouble, save, stop } = useDownload<number>();
  return (
    <May call={HistoryService.method.exportAudit}>
      <br />
      <p>
        The audit bundle holds events, digests, environment and recipe in one file. <code>espalier audit check FILE</code> checks it on any
        machine, without a server.
      </p>
      <p>
        {done === null ? (
          <button type="button" onClick={() => void save(0, (report, signal) => saveAudit(runId, report, signal))}>
            Download the audit bundle
          </button>
        ) : (
          <button type="button" onClick={stop}>
            Stop, {bytes(done)} so far
          </button>
        )}
      </p>
      <TroubleNote trouble={trouble} />
    </May>
  );
}
