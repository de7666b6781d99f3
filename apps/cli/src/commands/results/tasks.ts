// The command tasks, which lists the tasks of `eval --tasks`.
import type { Command } from 'commander';
import { action, examples } from '../command.js';

export function registerTasks(program: Command): void {
  const tasks = program
    .command('tasks')
    .summary('the built-in tasks of eval, and where each looks for its data')
    .description('Lists the tasks that eval --tasks knows by name. A file of your own declares another: docs/tasks.md.');
  examples(tasks, ['espalier tasks']);
  action(tasks, async ({ output }) => {
    const { builtInTasks, findTasks } = await import('#tasks'); // loaded here, since no other command needs its readers
    const { scored, means } = await findTasks(await builtInTasks());
    const rows = [
      ...scored.map((task) => ({
        task: task.task,
        data: `${task.data.folder}, ${task.data.split}`,
        hub: task.data.hub?.name ?? '',
        metrics: [...task.metrics],
        about: task.about,
      })),
      ...means.map((task) => ({ task: task.task, data: '', hub: '', metrics: ['mean'], about: task.about })),
    ].sort((a, b) => (a.task < b.task ? -1 : 1));
    output.result(rows, () =>
      output.table(
        ['TASK', 'FOLDER, SPLIT', 'ON THE HUB', 'METRICS', 'ABOUT'],
        rows.map(({ task, data, hub, metrics, about }) => [task, data, hub.replace(/@.*/, ''), metrics.join(', '), about]),
        [],
        { METRICS: 'wrap', ABOUT: 'wrap' },
      ),
    );
  });
}
