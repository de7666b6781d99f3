// Translates the protocol's field names into options or arguments of the command line, for error messages.
import type { Command } from 'commander';
import { findSetting } from '#protocol';

/**
 * The options for fields with another name (settings have theirs in their table). The first name that the command has is used.
 */
const OTHER_NAMES: Record<string, string[]> = {
  model_path: ['--model'],
  train_path: ['--data'],
  more_train_paths: ['--data'],
  train_weights: ['--data'],
  validation_path: ['--validation'],
  more_validation_paths: ['--validation'],
  without_validation: ['--no-validation'],
  data_path: ['--data'],
  teacher_mark: ['--from-teacher', '--teacher'],
  state_digest: ['--from-state'],
  export_digest: ['--export'],
  last_state: ['--last'],
  from_step: ['--from-step', '--replay'],
  to_step: ['--to-step', '--replay'],
  from_revision: ['--from'],
  page_size: ['--limit'],
  max_points: ['--points'],
  order_by: ['--order'],
  statuses: ['--status'],
  name_contains: ['--name'],
  by: ['--group'],
  tags: ['--tag'],
  add_tags: ['CHANGES'],
  remove_tags: ['CHANGES'],
  name: ['--name', 'NAME'],
  note: ['--note', 'TEXT'],
  model_contains: ['--model'],
  format: ['--export'],
  include_abandoned: ['--abandoned'],
  include_inherited: ['--inherited'],
  include_snapshots: ['--snapshots'],
  run_id: ['RUN'],
  parent_run_id: ['--parent', 'RUN'],
  left_run_id: ['LEFT'],
  right_run_id: ['RIGHT'],
  prompts: ['PROMPT'],
};

/** Matches a place in a model's files: "config.hidden_act", "config.json", "model.safetensors:lm_head.weight", "model". */
const MODEL_PLACE = /^(config\.|model$|model:)|\.(json|safetensors)\b/;

/** Returns the command's option or argument for a field like "settings.total_steps"; undefined where the command has none. */
export function flagOf(field: string, command: Command): string | undefined {
  if (MODEL_PLACE.test(field)) return hasName(command, '--model') && command.name() !== 'runs' ? '--model' : undefined;
  if (field.startsWith('--')) return hasName(command, field) ? field : undefined; // the field is an option already
  const last = /([a-z0-9_]+)(\[\d+\])?$/.exec(field)?.[1];
  if (last === undefined) return undefined;
  const candidates = [
    findSetting(last)?.flag ?? [],
    Object.entries(OTHER_NAMES).find(([name]) => name === last)?.[1] ?? [],
    `--${last.replaceAll('_', '-')}`,
  ].flat();
  return candidates.find((name) => hasName(command, name));
}

function hasName(command: Command, name: string): boolean {
  if (name.startsWith('--')) return command.options.some(({ long }) => long === name);
  return command.registeredArguments.some((argument) => argument.name().toUpperCase() === name);
}

/** Matches the field in front of a message, but not at the end of a path or of another word. */
function fieldInFront(field: string): RegExp {
  return new RegExp(`(?<![\\w"'/.-])${field.replace(/[^\w]/g, '\\$&')}: `, 'g');
}

/** Replaces the fields in a server's text by the command's options. */
export function inFlags(text: string, fields: string[], command: Command): string {
  let told = text;
  for (const field of fields) {
    const flag = flagOf(field, command);
    // The place in the model says more than the option that names the model.
    if (flag !== undefined && !MODEL_PLACE.test(field)) told = told.replaceAll(fieldInFront(field), `${flag}: `);
  }
  // Other fields in the text are recognized by an underscore or a path. Values stand in quotes and are left alone.
  return told.replace(
    /(?<![\w"'/.-])(?:(?:settings|overrides|data)\.)+[a-z_]+\b(?![./"'-])|(?<![\w"'/.-])[a-z]+(?:_[a-z]+)+\b(?![./"'-])/g,
    (name) => {
      return flagOf(name, command) ?? name;
    },
  );
}
