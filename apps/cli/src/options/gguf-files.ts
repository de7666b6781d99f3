// Makes a model's folder of a GGUF file that an option names. Like the files of the hub, the user's own machine makes it, into the user's
// own cache, and the server sees a folder.
import { UserFileError } from '#files';
import { folderOfGguf, GgufError, type GgufProblem } from '#gguf';
import { CliError, ExitCode } from '../cli-error.js';
import type { Context } from '../command-context.js';
import { ShareLine } from '../progress/share-line.js';

const EXIT_CODES: Record<GgufProblem | UserFileError['code'], number> = {
  GGUF_INVALID: ExitCode.usage,
  GGUF_UNSUPPORTED: ExitCode.usage,
  GGUF_CHANGED: ExitCode.failed,
  GGUF_DISK_FULL: ExitCode.failed,
  FILE_NOT_FOUND: ExitCode.notFound,
  FILE_UNUSABLE: ExitCode.failed,
  FILE_NOT_REGULAR: ExitCode.usage,
  FILE_TOO_LARGE: ExitCode.usage,
};

/** Returns the folder of the file's model, with a live line where it has to be made. @throws CliError */
export async function folderOfGgufShown({ output, signal }: Context, path: string, field: string): Promise<string> {
  const line = new ShareLine(output, path);
  try {
    return await folderOfGguf(path, { signal, onProgress: (share, what) => line.update(share, '', what) });
  } catch (error) {
    if (!(error instanceof GgufError || error instanceof UserFileError)) throw error;
    const message = error instanceof GgufError ? `${path}: ${error.message}` : error.message;
    throw new CliError(error.code, message, { field, exitCode: EXIT_CODES[error.code], cause: error });
  } finally {
    line.end();
  }
}
