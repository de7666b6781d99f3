// The command that inspects the embedded event store of the data folder. Its backups are those of the whole server (backup.ts).
import { join } from 'node:path';
import type { Command } from 'commander';
import { ExitCode } from '../../cli-error.js';
import { bytes, count } from '../../output/format.js';
import { action, examples } from '../command.js';

export function registerStore(program: Command): void {
  const store = program
    .command('store')
    .summary('inspect the embedded event store')
    .description('The embedded event store of the data folder. Works on its files: needs no server, and disturbs none.');
  registerStats(store);
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
      const folder = join(dataFolder, 'event-store');
      const { embeddedEventStoreStats, verifyEmbeddedEventStore } = await import('#event-store'); // loaded only when needed
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
