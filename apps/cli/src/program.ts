import { Command } from 'commander';
import { ownVersion } from '#files';
import { visibleLines } from '#protocol';
import { EXIT_CODES_HELP } from './cli-error.js';
import { registerAudit } from './commands/record/audit.js';
import { globalOptions } from './commands/command.js';
import { registerCheck } from './commands/record/check.js';
import { registerBackups } from './commands/server/backup.js';
import { registerBench } from './commands/results/bench.js';
import { registerCompletion } from './commands/completion.js';
import { registerDelete } from './commands/runs/delete.js';
import { registerDescribing } from './commands/runs/describe.js';
import { registerDiff } from './commands/record/diff.js';
import { registerDevices } from './commands/server/devices.js';
import { registerEngine } from './commands/server/engine.js';
import { registerEngines } from './commands/server/engines.js';
import { registerFleet } from './commands/server/fleet.js';
import { registerFork } from './commands/runs/fork.js';
import { registerFrontier } from './commands/results/frontier.js';
import { registerGenerate } from './commands/results/generate.js';
import { registerPull } from './commands/hub/pull.js';
import { registerPush } from './commands/hub/push.js';
import { registerHelp } from './commands/help.js';
import { registerLadder } from './commands/results/ladder.js';
import { registerLaunch, registerScan } from './commands/runs/launch.js';
import { registerLogin, registerLogins, registerLogout, registerWhoami } from './commands/server/login.js';
import { registerLogs } from './commands/server/logs.js';
import { registerMasks } from './commands/results/masks.js';
import { registerOpen } from './commands/server/open.js';
import { registerMetrics } from './commands/results/metrics.js';
import { registerPlan } from './commands/results/plan.js';
import { registerPriority } from './commands/runs/priority.js';
import { registerQuickstart } from './commands/quickstart.js';
import { registerRecord } from './commands/record/record-commands.js';
import { registerEvaluate } from './commands/results/evaluate.js';
import { registerExport } from './commands/results/export.js';
import { registerTasks } from './commands/results/tasks.js';
import { registerRoom } from './commands/server/disk-commands.js';
import { registerRuns } from './commands/runs/runs.js';
import { registerShow } from './commands/runs/show.js';
import { SuggestingCommand } from './commands/suggesting-command.js';
import { registerStatus } from './commands/server/status.js';
import { registerSteering } from './commands/runs/run-control.js';
import { registerStore } from './commands/server/store.js';
import { registerStudy } from './commands/studies/study.js';
import { registerTls } from './commands/server/tls.js';
import { registerToken } from './commands/server/token.js';
import { registerUsage } from './commands/server/usage.js';
import { registerUp } from './commands/server/up.js';
import { registerVerify } from './commands/record/verify.js';
import { toStandardError } from './output/terminal.js';

const WALK_THROUGH = `
Words:
  state     all that training goes on from: LoRA, masks, optimizer, step
  snapshot  a state that is kept, one at each percent of sparsity
  teacher   what the student learns from: the intact model, or a snapshot of
            the run itself; a run can be resumed and forked from each
  mark      the number of a snapshot: teacher 20 is mark 20

A first session:
  $ espalier up --detach                      start the server
  $ espalier open                             look at it in a browser
  $ espalier launch --model M --data T --validation V -w
                                              prune a model to half, and look on
  $ espalier pause RUN                        stop at the next step
  $ espalier resume RUN                       go on from exactly there
  $ espalier teachers RUN                     the states on the way
  $ espalier fork RUN --from-teacher 20       another run from one of them
  $ espalier eval RUN                         perplexity on the text of V
  $ espalier generate RUN "Once upon"         text
  $ espalier export RUN --out pruned/         the smaller model
  $ espalier verify RUN --replay 100..150     prove it, computing steps again

RUN is the id of a run, its first 4 or more characters, or its name where no
other run has it. A digest may be cut to its first 4 or more digits.
`;

/** Builds the program. With `json`, commander prints no errors itself, and main.ts reports them. */
export function buildProgram(json = false): Command {
  const program = new SuggestingCommand('espalier');
  for (const option of globalOptions()) program.addOption(option);
  // The message about a wrong command line repeats the command line, so it is made visible.
  program.configureOutput({ writeErr: (text) => (json ? undefined : toStandardError(visibleLines(text.trimEnd()), 2)) });
  program
    .description(
      'Prunes language models while larger versions of themselves teach them, with a history that can be audited, replayed and forked.',
    )
    .version(json ? JSON.stringify({ version: ownVersion() }) : ownVersion(), '-V, --version')
    .addHelpText('after', `${WALK_THROUGH}\n${EXIT_CODES_HELP}`)
    .showSuggestionAfterError()
    .showHelpAfterError('(more with --help)')
    .configureHelp({ showGlobalOptions: true })
    // The commands below inherit this: main.ts decides how the process ends.
    .exitOverride()
    .enablePositionalOptions();
  program.commandsGroup('Server:');
  registerUp(program);
  registerOpen(program);
  registerStatus(program);
  registerEngine(program);
  registerEngines(program);
  registerFleet(program);
  registerDevices(program);
  registerLogin(program);
  registerLogout(program);
  registerWhoami(program);
  registerToken(program);
  registerLogins(program);
  registerTls(program);
  registerLogs(program);
  registerUsage(program);
  program.commandsGroup('Runs:');
  registerPull(program);
  registerPlan(program);
  registerLaunch(program);
  registerScan(program);
  registerRuns(program);
  registerShow(program);
  registerSteering(program);
  registerPriority(program);
  registerFork(program);
  registerDescribing(program);
  program.commandsGroup('Results:');
  registerEvaluate(program);
  registerExport(program);
  registerPush(program);
  registerCheck(program);
  registerTasks(program);
  registerGenerate(program);
  registerBench(program);
  registerLadder(program);
  registerFrontier(program);
  registerMetrics(program);
  registerMasks(program);
  registerDiff(program);
  registerStudy(program);
  program.commandsGroup('Record:');
  registerRecord(program);
  registerVerify(program);
  registerAudit(program);
  registerBackups(program);
  registerStore(program);
  program.commandsGroup('Room:');
  registerRoom(program);
  registerDelete(program);
  program.commandsGroup('To begin with:');
  registerQuickstart(program);
  registerCompletion(program);
  registerHelp(program);
  return program;
}
