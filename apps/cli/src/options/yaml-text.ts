// Reads the text of a YAML file that a person wrote.
import { basename } from 'node:path';
import { readUserFile, UserFileError } from '#files';
import { invalidFile } from '#run-files';
import { CliError, ExitCode } from '../cli-error.js';

/** @param field the option or argument that names the file */
export async function readYamlText(path: string, field: string, mostBytes: number): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readUserFile(path, mostBytes));
  } catch (error) {
    if (error instanceof TypeError) throw invalidFile(`${basename(path)} is not UTF-8 text`, field);
    if (!(error instanceof UserFileError)) throw error;
    throw new CliError(error.code, error.message, {
      field,
      exitCode: error.code === 'FILE_NOT_FOUND' ? ExitCode.notFound : ExitCode.usage,
    });
  }
}
