// Lists the files of the server's machine that a form may name.
import { homedir } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import { hubCache } from '#hub';
import { unary, v1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { Callers } from './admission/callers.js';
import { listFiles } from './file-list.js';

@Injectable()
export class FilesGrpc {
  constructor(
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataRoots' | 'dataFolder'>,
    @Inject(Callers) private readonly callers: Callers,
  ) {}

  handlers(): Pick<v1.RunServiceServer, 'listFiles'> {
    return {
      listFiles: unary(({ folderPath }: v1.ListFilesRequest, _signal, call) => {
        const { dataRoots, dataFolder } = this.config;
        const isOwner = this.callers.grantOf(call).kind === 'owner';
        return listFiles(folderPath, { roots: [...dataRoots, ...(isOwner ? usualFolders() : [])], hidden: [dataFolder] });
      }),
    };
  }
}

/**
 * The folders that the server's own user sees first. This user may name any path, but a list of the whole disk would not help to find one.
 */
function usualFolders(): string[] {
  return [process.cwd(), homedir(), hubCache(process.env)].filter((folder) => folder !== '/');
}
