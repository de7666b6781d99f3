// The commands tag, note and rename, which change the name, tags and note of a run.
import type { Command } from 'commander';
import { v1 } from '#protocol';
import { CliError, ExitCode } from '../../cli-error.js';
import type { Context } from '../../command-context.js';
import { action, examples, RUN_ARGUMENT } from '../command.js';

export function registerDescribing(program: Command): void {
  const tag = program
    .command('tag')
    .argument(...RUN_ARGUMENT)
    .argument('<changes...>', '+TAG puts one on, -TAG takes one off')
    .summary('put tags on a run, or take them off')
    .description(
      'Changes the tags of a run, by which `runs --tag` finds it. A tag has up to 64 letters, digits and . _ : / = @ - and begins with a ' +
        'letter or a digit. The history keeps who tagged it and when.',
    )
    .allowUnknownOption(); // so that -TAG is not taken for an option
  examples(tag, ['espalier tag k3f9 +baseline -draft'], ['espalier runs --tag baseline']);
  action(tag, async (context, [runId, ...changes]: [string, ...string[]]) => {
    const { addTags, removeTags } = tagChanges(changes);
    await describe(context, { runId, addTags, removeTags }, ({ tags }) => (tags.length === 0 ? 'no tags' : `tags: ${tags.join(', ')}`));
  });

  const note = program
    .command('note')
    .argument(...RUN_ARGUMENT)
    .argument('<text>', 'up to 2,000 characters; "" removes the note')
    .summary('say something about a run')
    .description('Puts a note on a run, in the place of the one before; the history keeps that one too.');
  examples(note, ['espalier note k3f9 "twice the mask rate: teachers come too fast"']);
  action(note, (context, [runId, text]: [string, string]) =>
    describe(context, { runId, note: text }, (run) => (run.note === '' ? 'no note' : `note: ${run.note}`)),
  );

  const rename = program
    .command('rename')
    .argument(...RUN_ARGUMENT)
    .argument('<name>', 'up to 200 characters; "" removes the name')
    .summary('give a run another name')
    .description('Gives a run another name. Its id stays, and so do the names that its history was recorded with.');
  examples(rename, ['espalier rename k3f9 baseline']);
  action(rename, (context, [runId, name]: [string, string]) =>
    describe(context, { runId, name }, (run) => (run.name === '' ? 'no name' : `name: ${run.name}`)),
  );
}

async function describe(
  { connection, output }: Context,
  request: Partial<v1.DescribeRunRequest>,
  words: (run: v1.Run) => string,
): Promise<void> {
  const { run } = await connection.call(connection.runs, connection.runs.describeRun, v1.DescribeRunRequest.fromPartial(request));
  output.result(run, () => output.indented(`${run.runId}  `, run.runId.length + 2, words(run)));
}

function tagChanges(changes: string[]): { addTags: string[]; removeTags: string[] } {
  const odd = changes.find((change) => !/^[+-][^+-]/.test(change));
  if (odd !== undefined)
    throw new CliError('OPTION_INVALID', `${JSON.stringify(odd)} is not a change: +TAG and -TAG are allowed`, {
      field: 'changes',
      exitCode: ExitCode.usage,
    });
  const of = (sign: string): string[] => changes.filter((change) => change.startsWith(sign)).map((change) => change.slice(1));
  return { addTags: of('+'), removeTags: of('-') };
}
