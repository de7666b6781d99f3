// Shows the exports of a run with their proofs, and their files to download.
import { useState } from 'preact/hooks';
import { May } from '../../api/caller.js';
import { artifactService } from '../../api/client.js';
import { useDownload } from '../../api/download-progress.js';
import { saveArtifact } from '../../api/save-artifact.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { ExportFile } from '../../generated/espalier/v1/artifact_service_pb.js';
import { RunService, type ModelExport, type Run } from '../../generated/espalier/v1/run_service_pb.js';
import { bytes, count, percent, time } from '../../ui/format.js';
import { Dialog } from '../../ui/dialog.js';
import { Meter } from '../../ui/meter.js';
import { TroubleNote } from '../../ui/pending.js';
import { Heads } from '../../ui/heads.js';
import { Scroll } from '../../ui/scroll.js';
import { proofWords } from './job-words.js';

export function Exports({ run, add }: { run: Run; add: () => void }) {
  const [opened, setOpened] = useState<ModelExport | null>(null);
  return (
    <section class="card" aria-label="Exports">
      <header>
        <h2>Exports</h2>
        <span class="soft">models for other programs, each compared with the masked student</span>
        {run.stateDigest !== '' && (
          <May call={RunService.method.startJob}>
            <button class="at-end" onClick={add}>
              Export
            </button>
          </May>
        )}
      </header>
      <Scroll label="Exports">
        {run.exports.length === 0 ? (
          <p class="soft">No export yet.</p>
        ) : (
          <table class="plain num">
            <Heads
              names={['Format', 'Parameters', 'Size', 'At step', 'Proof', 'Recorded at', 'Files']}
              numbers={['Parameters', 'Size', 'At step', 'Files']}
            />
            <tbody>
              {[...run.exports].reverse().map((one, index) => (
                <tr key={index}>
                  <td>
                    {one.format} {one.dtype}
                    <br />
                    <code class="soft">{one.digest.slice(0, 8)}</code>
                  </td>
                  <td class="right">{count(one.parameterCount)}</td>
                  <td class="right">{bytes(one.bytes)}</td>
                  <td class="right">{count(one.step)}</td>
                  <td>
                    {proofWords(one.proof).map((words) => (
                      <p key={words}>{words}</p>
                    ))}
                  </td>
                  <td>{time(one.exportedAt)}</td>
                  <td class="right">
                    <button class="plain" onClick={() => setOpened(one)} aria-label={`Files of the export ${one.digest.slice(0, 8)}`}>
                      Download
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Scroll>
      {opened !== null && <Files run={run} made={opened} close={() => setOpened(null)} />}
    </section>
  );
}

function Files({ run, made, close }: { run: Run; made: ModelExport; close: () => void }) {
  const { data: files, trouble: missing } = useLoaded(
    `export ${made.digest}`,
    async (signal) => (await artifactService.statArtifact({ digest: made.digest }, { signal })).files,
  );
  const { progress, trouble, save: begin, stop } = useDownload<{ name: string; share: number }>();
  const save = (file: ExportFile): Promise<void> =>
    begin({ name: file.name, share: 0 }, (report, signal) => saveArtifact(file, (share) => report({ name: file.name, share }), signal));
  const command = `npx espalier export ${run.runId} --format ${made.format} --out FOLDER`;
  return (
    <Dialog title="Files of the export" close={close}>
      <form method="dialog">
        <header>
          <h2>
            {made.format} {made.dtype} of step {count(made.step)}
          </h2>
        </header>
        <div class="in">
          {made.notes.map((note) => (
            <p class="note" key={note}>
              {note}
            </p>
          ))}
          <TroubleNote trouble={trouble ?? missing} />
          <ul class="jobs">
            {files?.map((file) => (
              <li key={file.name}>
                <div>
                  <p class="break">
                    <b>{file.name}</b> <span class="soft num">{bytes(file.bytes)}</span>
                  </p>
                  <p class="soft break">
                    <code>{file.digest}</code>
                  </p>
                </div>
                {progress?.name === file.name ? (
                  <>
                    <Meter share={progress.share} label={`downloading ${file.name}`} />
                    <button type="button" onClick={stop}>
                      Stop, {percent(progress.share, 0)}
                    </button>
                  </>
                ) : (
                  <button type="button" disabled={progress !== null} onClick={() => void save(file)} aria-label={`Download ${file.name}`}>
                    Download
                  </button>
                )}
              </li>
            ))}
          </ul>
          <br />
          <p class="soft">
            The server keeps them in its artifact store, each under its SHA-256. <code class="break">{command}</code> writes a whole folder
            and checks every file.
          </p>
        </div>
        <footer>
          <button type="button" autofocus onClick={close}>
            Close
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
