// The commands for backups of a whole server: events and artifacts together, in a folder or a bucket.
import { join } from 'node:path';
import type { Command } from 'commander';
import { keepForOwner } from '#files';
import { backupNames, readBackup, withPlace, type Backup, type PlaceOptions } from '../../backups/backup-place.js';
import { CliError, ExitCode } from '../../cli-error.js';
import { runningServer } from '../../local-server/stack.js';
import { bytes, count, duration, howMany, problemsFound } from '../../output/format.js';
import { action, examples } from '../command.js';

interface ArtifactOptions extends PlaceOptions {
  artifacts?: string;
}

const TARGET = ['<target>', 'a folder, or s3://BUCKET/PREFIX'] as const;
const WITH_OPTIONS = { localOnly: true };

export function registerBackups(program: Command): void {
  registerBackup(program);
  registerList(program);
  registerRestore(program);
}

function withBuckets(command: Command, isForArtifacts: boolean): Command {
  if (isForArtifacts)
    command.option('--artifacts <place>', "where the server's artifacts lie (else ESPALIER_ARTIFACTS, else in the data folder)");
  return command
    .option('--s3-endpoint <url>', 'the address of a server that speaks S3 (else ESPALIER_S3_ENDPOINT, else AWS)')
    .option('--s3-region <name>', 'the region of the buckets (else ESPALIER_S3_REGION, else AWS_REGION)');
}

function bucketOptions({ s3Endpoint, s3Region }: PlaceOptions): PlaceOptions {
  return {
    s3Endpoint: s3Endpoint ?? (process.env['ESPALIER_S3_ENDPOINT'] || undefined),
    s3Region: s3Region ?? (process.env['ESPALIER_S3_REGION'] || undefined),
  };
}

const artifactsOf = (dataFolder: string, { artifacts }: ArtifactOptions): string =>
  artifacts ?? (process.env['ESPALIER_ARTIFACTS'] || join(dataFolder, 'artifacts'));

function registerBackup(program: Command): void {
  const backup = program
    .command('backup')
    .argument(...TARGET)
    .summary('back up events and artifacts while the server goes on')
    .description(
      'Copies the events of the data folder as they are at one moment, and the artifacts that they need, to a folder or a bucket, while ' +
        'the server goes on. A later backup to the same target copies only what is new. Files are for their user only. Models, texts, ' +
        'logins and certificates are not part of a backup.',
    );
  withBuckets(backup, true);
  examples(backup, ['espalier backup /mnt/backups/lab'], ['espalier backup s3://lab-backups/espalier --s3-region eu-central-1']);
  action<ArtifactOptions, [string]>(
    backup,
    async ({ dataFolder, output, signal }, [target], options) => {
      keepForOwner();
      const { makeBackup, requireApart } = await import('../../backups/make-backup.js'); // loaded only when needed
      const places = bucketOptions(options);
      const own = artifactsOf(dataFolder, options);
      requireApart(target, dataFolder, own);
      const report = await withPlace({ given: own, option: '--artifacts', ...places }, (artifacts) =>
        withPlace({ given: target, option: 'target', isNew: true, ...places }, (place) =>
          makeBackup({ dataFolder, artifacts }, place, signal),
        ),
      );
      output.result(report, () => {
        const { name, place, events, artifacts, copied, removedMeanwhile } = report;
        output.line(`backup ${name} in ${place}, ${duration(report.seconds)}`);
        output.line(`  ${count(events.count)} events, ${howMany(artifacts.count, 'artifact')} of ${bytes(artifacts.bytes)}`);
        output.line(`  new there: ${howMany(copied.count, 'artifact')} of ${bytes(copied.bytes)}`);
        if (removedMeanwhile > 0)
          output.text(`${howMany(removedMeanwhile, 'artifact')} were removed by the server meanwhile: runs that need one train it again`);
      });
    },
    WITH_OPTIONS,
  );
}

function registerList(program: Command): void {
  const list = program
    .command('backups')
    .argument(...TARGET)
    .summary('list the backups of a target, or check one')
    .description(
      'Lists the backups of a target, the oldest first. With --check every byte of one is read and compared with its digest, and every ' +
        'event is checked; the exit code is 1 when something is wrong.',
    )
    .option('--check [name]', 'read and check this backup, or the newest');
  withBuckets(list, false);
  examples(list, ['espalier backups /mnt/backups/lab'], ['espalier backups /mnt/backups/lab --check']);
  action<PlaceOptions & { check?: string | true }, [string]>(
    list,
    async ({ output, signal }, [target], options) =>
      withPlace({ given: target, option: 'target', ...bucketOptions(options) }, async (place) => {
        if (options.check !== undefined) {
          const { checkBackup } = await import('../../backups/read-backup.js'); // loaded only when needed
          const backup = await readBackup(place, options.check === true ? undefined : options.check);
          const report = await checkBackup(place, backup, signal);
          output.result(report, () => {
            const { name, events, artifacts, problems } = report;
            const verdict = problems.length === 0 ? output.style('green', 'whole') : output.style('red', problemsFound(problems.length));
            output.line(`backup ${name}: ${verdict}`);
            output.line(`  ${count(events)} events, ${howMany(artifacts, 'artifact')}, ${bytes(report.bytes)} read`);
            for (const problem of problems) output.indented('  ', 2, problem);
          });
          return report.problems.length === 0 ? ExitCode.ok : ExitCode.failed;
        }
        const backups: Backup[] = [];
        for (const name of await backupNames(place)) backups.push(await readBackup(place, name));
        output.result({ backups }, () => {
          if (backups.length === 0) output.line(`${place.words} holds no finished backup`);
          else
            output.table(
              ['BACKUP', 'EVENTS', 'ARTIFACTS', 'SIZE', 'RELEASE'],
              backups.map(({ name, events, artifacts, release }) => [
                name,
                count(events.count),
                count(artifacts.count),
                bytes(events.bytes + artifacts.bytes),
                release,
              ]),
              [1, 2, 3],
            );
        });
        return ExitCode.ok;
      }),
    { ...WITH_OPTIONS, isVerdict: true },
  );
}

function registerRestore(program: Command): void {
  const restore = program
    .command('restore')
    .argument(...TARGET)
    .summary('put a backup into the data folder of a stopped server')
    .description(
      'Puts events and artifacts of a backup into a data folder, on this machine or another one. Every byte is checked on the way. The ' +
        'server of the folder must be stopped. A restore that was cut short goes on when the command is given again.',
    )
    .option('--backup <name>', 'which backup; the newest, unless this names another')
    .option('--overwrite', 'replace the event store that is there, which is kept beside the new one');
  withBuckets(restore, true);
  examples(
    restore,
    ['espalier --data-folder /srv/espalier restore /mnt/backups/lab'],
    ['espalier restore s3://lab-backups/espalier --backup 2026-11-30T020000.000Z --overwrite'],
  );
  action<ArtifactOptions & { backup?: string; overwrite?: boolean }, [string]>(
    restore,
    async ({ dataFolder, output, signal }, [target], options) => {
      const running = runningServer(dataFolder);
      if (running !== null)
        throw new CliError('STORE_LOCKED', `the server (process ${running.pid}) has the data folder open`, {
          exitCode: ExitCode.notAllowed,
          hint: 'stop it with: espalier down',
        });
      keepForOwner();
      const { restoreBackup } = await import('../../backups/read-backup.js'); // loaded only when needed
      const places = bucketOptions(options);
      const report = await withPlace({ given: target, option: 'target', ...places }, async (place) => {
        const backup = await readBackup(place, options.backup);
        return withPlace({ given: artifactsOf(dataFolder, options), option: '--artifacts', isNew: true, ...places }, (artifacts) =>
          restoreBackup(place, backup, { dataFolder, artifacts, overwrite: options.overwrite ?? false }, signal),
        );
      });
      output.result(report, () => {
        const { name, events, artifacts, previousStoreFolder, leavesJobs } = report;
        output.line(`restored backup ${name} into ${dataFolder}, ${duration(report.seconds)}`);
        output.line(`  ${count(events)} events, ${howMany(artifacts.copied, 'artifact')} of ${bytes(artifacts.bytes)}`);
        if (previousStoreFolder !== undefined) output.line(`the former event store is in ${previousStoreFolder}`);
        if (leavesJobs)
          output.text(
            'the server of this backup had a fleet: its jobs may run on. Once started, the server counts those that join at its address ' +
              "as strays (espalier fleet), and ends none. End all others with the cluster's own commands",
          );
        output.line(`start it with: espalier --data-folder ${dataFolder} up --detach`);
      });
    },
    WITH_OPTIONS,
  );
}
