// Answers ArtifactService by the queries. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import { ROLES, serverStreaming, unary, v1, type CallInfo } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { downloadArtifact, listExports, listTeachers, statArtifact } from '../queries/artifact-queries.js';
import { RunViews } from '../views/run-views.js';
import { ARTIFACT_STORE, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { requireAtLeast } from './admission/access.js';
import { Callers } from './admission/callers.js';

type ArtifactQueries = Pick<v1.ArtifactServiceServer, 'listTeachers' | 'listExports' | 'statArtifact' | 'downloadArtifact'>;

@Injectable()
export class ArtifactGrpc {
  constructor(
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'viewersReadTexts'>,
  ) {}

  handlers(): ArtifactQueries {
    const { views, artifacts } = this;
    return {
      listTeachers: unary((request: v1.ListTeachersRequest) => listTeachers(views, request)),
      listExports: unary((request: v1.ListExportsRequest) => listExports(views, request)),
      statArtifact: unary((request: v1.StatArtifactRequest, _signal, call) =>
        statArtifact(views, artifacts, request, (digest) => this.requireAllowed(digest, call)),
      ),
      downloadArtifact: serverStreaming((request: v1.DownloadArtifactRequest, _signal, call) =>
        downloadArtifact(views, artifacts, request, (digest) => this.requireAllowed(digest, call)),
      ),
    };
  }

  /** Viewers read exports. Texts, tokens and states, whose data may be private, need a higher role. @throws EspalierError ROLE_TOO_LOW */
  private requireAllowed(digest: string, call: CallInfo): void {
    if (this.config.viewersReadTexts || this.views.isOfExport(digest)) return;
    requireAtLeast(ROLES.operator, this.callers.grantOf(call), 'an artifact that is not of an export is');
  }
}
