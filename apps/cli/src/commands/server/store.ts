// The commands for the embedded event store of the data folder: backup, also while its server runs, and restore while it does not.
import { join } from 'node:path';
import type { Command } from 'commander';
import { toEspalierError } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import { absolutePath } from '../../options/parse.js';
import { bytes, count } from '../../output/format.js';
import { runningServer } from '../../local-server/stack.js';
import { action, examples } from '../command.js';

// Loaded only when needed: it loads the client of the event store too, which no other command uses.
const eventStore = () => import('#event-store');
const storeFolderOf = (dataFolder: string) => join(dataFolder, 'event-store');

export function registerStore(program: Command): void {
  const store = program
    .command('store')
    .summary('back up, restore and inspect the embedded event store')
    .description('The embedded event store of the data folder. Works on its files: needs no server, and disturbs none.');
  registerBackup(store);
  registerRestore(store);
  registerStats(store);
}

function registerBackup(store: Command): void {
  const backup = store
    .command('backup')
    .argument('<file>', 'where to write it', absolutePath)
    .summary('copy the store into one file while it is in use')
    .description(
      'Copies the store into one file, complete as of one moment, while its server goes on. The copy is read back and checked before it ' +
        'gets its name. Artifacts (snapshots, exports) are plain files in the data folder, which any tool can copy.',
    )
    .option('--overwrite', 'replace an earlier backup of that name, if the store has all of its events')
    .option('--overwrite-any', 'replace any backup of that name, also a newer one or one of another store');
  examples(backup, ['espalier store backup backups/monday.db']);
  action<{ overwrite?: boolean; overwriteAny?: boolean }, [string]>(
    backup,
    async (context, [file], options) => {
      const { dataFolder, output } = context;
      context.endAtOnceOnInterrupt(); // SQLite copies and checks without a pause; an unfinished copy has no name yet
      const { backupEmbeddedEventStore } = await eventStore();
      const overwrite = options.overwriteAny ? 'any' : options.overwrite ? 'earlier' : 'no';
      const report = await namingOverwrite({ BACKUP_FILE_EXISTS: '--overwrite', BACKUP_FILE_NEEDED: '--overwrite-any' }, () =>
        backupEmbeddedEventStore({ folder: storeFolderOf(dataFolder), file, overwrite }),
      );
      output.result(report, () =>
        output.line(`${report.file}: ${count(report.events)} events in ${count(report.streams)} streams, ${bytes(report.bytes)}`),
      );
    },
    { localOnly: true },
  );
}

function registerRestore(store: Command): void {
  const restore = store
    .command('restore')
    .argument('<file>', 'a backup', absolutePath)
    .summary('put a backup in the place of the store')
    .description(
      'Puts a backup in the place of the store. The server must be stopped; the store that was there is kept beside it. A server that ' +
        'has seen newer events says that they are missing, and throws nothing away until it is started once with --accept-store.',
    )
    .option('--overwrite', 'replace the store that is there');
  examples(restore, ['espalier down'], ['espalier store restore backups/monday.db --overwrite']);
  action<{ overwrite?: boolean }, [string]>(
    restore,
    async (context, [file], options) => {
      const { dataFolder, output } = context;
      context.endAtOnceOnInterrupt(); // as with the backup, the work has no pauses
      const running = runningServer(dataFolder);
      if (running !== null) {
        throw new CliError('STORE_LOCKED', `the server (process ${running.pid}) has the store open`, {
          exitCode: ExitCode.notAllowed,
          hint: 'stop it with: espalier down',
        });
      }
      const { restoreEmbeddedEventStore } = await eventStore();
      const report = await namingOverwrite({ STORE_EXISTS: '--overwrite' }, () =>
        restoreEmbeddedEventStore({ folder: storeFolderOf(dataFolder), file, overwrite: options.overwrite ?? false }),
      );
      output.result(report, () => {
        output.line(`restored ${count(report.events)} events in ${count(report.streams)} streams`);
        if (report.previousStoreFolder !== undefined) output.line(`the former store is in ${report.previousStoreFolder}`);
        output.line('at the next start the views are made to agree');
        output.text(
          'if events were recorded after the backup, the server says then that they are missing and throws nothing away, until it was ' +
            'started once with: espalier up --accept-store',
        );
      });
    },
    { localOnly: true },
  );
}

/** Adds the option of these commands to an error that the library words for all its callers. */
async function namingOverwrite<T>(options: Record<string, string>, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = toEspalierError(error);
    const option = options[code];
    if (option === undefined) throw error;
    throw new CliError(code, message, { hint: `${option} replaces it`, exitCode: ExitCode.notAllowed, cause: error });
  }
}

function registerStats(store: Command): void {
  const stats = store
    .command('stats')
    .summary('size and contents')
    .description('Size and contents of the store; with --check every event is read and checked.')
    .option('--check', 'read every event and check its checksum');
  examples(stats, ['espalier store stats --check']);
  action<{ check?: boolean }>(
    stats,
    async (context, _, options) => {
      const { dataFolder, output } = context;
      context.endAtOnceOnInterrupt();
      const folder = storeFolderOf(dataFolder);
      const { embeddedEventStoreStats, verifyEmbeddedEventStore } = await eventStore();
      const facts = embeddedEventStoreStats({ folder });
      const check = options.check ? verifyEmbeddedEventStore({ folder }) : undefined;
      output.result({ ...facts, check }, () => {
        output.pairs([
          ['folder', facts.folder],
          ['in use', facts.isOpen ? 'yes' : 'no'],
          ['events', count(facts.events)],
          ['streams', count(facts.streams)],
          ['size', `${bytes(facts.databaseBytes)}, log ${bytes(facts.walBytes)}`],
          ['last event', facts.lastEventAt ?? '-'],
          ['made', facts.createdAt],
          ['schema', String(facts.schemaVersion)],
          ['id', facts.storeId],
          [
            'checked',
            check === undefined
              ? undefined
              : check.problems.length === 0
                ? 'every event is whole'
                : check.problems.length === 1
                  ? '1 problem'
                  : `${check.problems.length} problems`,
          ],
        ]);
        for (const problem of check?.problems ?? []) output.line(`${output.style('red', problem.code)}  ${problem.message}`);
      });
      return check !== undefined && check.problems.length > 0 ? ExitCode.failed : ExitCode.ok;
    },
    { localOnly: true, isVerdict: true },
  );
}
