// The command logs, which shows the logs of a server's processes as one stream in the order of time.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { EVENT_STORE_LOG, olderLog } from '#files';
import { inOrderOfTime, readLogLine, type LogLine, type LogSource } from '#log';
import { visibleText } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { fileError } from '../../output/result-files.js';
import { choice, wholeNumber } from '../../options/parse.js';
import { when } from '../../output/format.js';
import type { Style } from '../../output/terminal.js';
import { logFileOf } from '../../local-server/stack.js';
import { action, examples } from '../command.js';

export const SOURCES = { orchestrator: 'orchestrator', engine: 'engine', 'event-store': 'event-store' } as const;

interface LogsOptions {
  lines: number;
  follow?: boolean;
  source?: LogSource;
}

const POLL_MS = 250;
/** Logs may be long, so only this part at the end of each is read. */
const TAIL_BYTES = 4 << 20;
const INFO: [string, Style] = ['info', 'cyan'];
const LEVEL_WORDS: Record<number, [string, Style]> = {
  10: ['trace', 'dim'],
  20: ['debug', 'dim'],
  30: INFO,
  40: ['warn', 'yellow'],
  50: ['error', 'red'],
  60: ['fatal', 'red'],
};

export function registerLogs(program: Command): void {
  const logs = program
    .command('logs')
    .summary('show the log of the server')
    .description(
      'Prints the log of the orchestrator, its engine and the embedded event store of this data folder, in the order of time; works ' +
        'while nothing runs, too. A log of more than 16 MiB is renamed (.1) and a new one begins; both are shown. ' +
        'A server in front (up without --detach) logs on its terminal instead.',
    )
    .option('-n, --lines <n>', 'how many of the last lines (0: none)', wholeNumber, 50)
    .option('-f, --follow', 'stay and print new ones')
    .option('--source <name>', 'orchestrator, engine or event-store only', choice<LogSource>(SOURCES));
  examples(logs, ['espalier logs --follow'], ['espalier logs --lines 500 --source engine']);
  action<LogsOptions>(
    logs,
    async (context, _, options) => {
      const paths = [logFileOf(context.dataFolder), join(context.dataFolder, EVENT_STORE_LOG)];
      const older = paths.map((path) => new LogFile(olderLog(path)));
      const files = paths.map((path) => new LogFile(path));
      if (!options.follow && [...older, ...files].every((file) => !file.isThere())) {
        throw new CliError('LOG_NOT_FOUND', `there is no log in ${context.dataFolder}`, {
          exitCode: ExitCode.notFound,
          hint: 'a server that was started with `espalier up --detach` writes one; name its data folder with --data-folder',
        });
      }
      const wanted = ({ source }: LogLine) => options.source === undefined || source === options.source;
      const read = (from: LogFile[]) =>
        from
          .flatMap((file, index) => file.read().map((line) => readLogLine(line, index === 1 ? 'event-store' : 'orchestrator')))
          .filter(wanted);
      const last = inOrderOfTime([...read(older), ...read(files)]);
      for (const line of options.lines === 0 ? [] : last.slice(-options.lines)) print(context, line);
      while (options.follow) {
        await sleep(POLL_MS, undefined, { signal: context.signal });
        for (const line of inOrderOfTime(read(files))) print(context, line);
      }
    },
    { localOnly: true },
  );
}

/** A file that is read on from where the last reading ended. It need not exist yet. */
class LogFile {
  private position: number | undefined;
  private rest = '';

  constructor(private readonly path: string) {}

  isThere(): boolean {
    return this.open((file) => fstatSync(file).size) !== undefined;
  }

  /** Returns the complete lines since the last call. */
  read(): string[] {
    const text = this.open((file) => {
      const { size } = fstatSync(file);
      // The first call reads only the end. A file that has become shorter is a new file.
      if (this.position === undefined) this.position = Math.max(size - TAIL_BYTES, 0);
      else if (size < this.position) this.position = 0;
      const buffer = Buffer.alloc(size - this.position);
      this.position += readSync(file, buffer, 0, buffer.length, this.position);
      return buffer.toString('utf8');
    });
    const lines = `${this.rest}${text ?? ''}`.split('\n');
    this.rest = lines.pop() ?? '';
    return lines.filter((line) => line !== '');
  }

  private open<T>(use: (file: number) => T): T | undefined {
    let file: number;
    try {
      file = openSync(this.path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw fileError(error, this.path);
    }
    try {
      return use(file);
    } finally {
      closeSync(file);
    }
  }
}

function print({ output }: Context, { time, level, source, text, logged }: LogLine): void {
  const [name, style] = LEVEL_WORDS[level] ?? INFO;
  output.item({ source, logged }, () => {
    const at = time === undefined ? ' '.repeat(19) : when(new Date(time));
    output.indented(`${output.style('dim', at)}  ${output.style(style, name.padEnd(5))}  ${source.padEnd(12)}  `, 42, visibleText(text));
  });
}
