// The options for a run's name, tags and note.
import type { Command } from 'commander';
import type { RunFile } from './run-file.js';

export interface LabelOptions {
  name?: string;
  tag?: string[];
  note?: string;
}

export function addLabelOptions(command: Command): Command {
  return command
    .option('--name <name>', 'a name for people')
    .option('--tag <tag>', 'a tag, by which runs --tag finds it; may be given several times', gathered)
    .option('--note <text>', 'a note about the run');
}

export function gathered(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** Returns the labels for a request. An option counts before the file's value. */
export function labelsOf(
  { name, tag, note }: LabelOptions,
  file: Pick<RunFile, 'name' | 'tags' | 'note'>,
): { name: string; tags: string[]; note: string } {
  return { name: name ?? file.name ?? '', tags: tag ?? file.tags ?? [], note: note ?? file.note ?? '' };
}
