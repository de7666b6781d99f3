// Answers ArtifactService by the queries. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import { serverStreaming, unary, v1 } from '#protocol';
import { downloadArtifact, listExports, listTeachers, statArtifact } from '../queries/artifact-queries.js';
import { RunViews } from '../views/run-views.js';
import { ARTIFACT_STORE } from '../provider-names.js';

type ArtifactQueries = Pick<v1.ArtifactServiceServer, 'listTeachers' | 'listExports' | 'statArtifact' | 'downloadArtifact'>;

@Injectable()
export class ArtifactGrpc {
  constructor(
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
  ) {}

  handlers(): ArtifactQueries {
    const { views, artifacts } = this;
    return {
      listTeachers: unary((request: v1.ListTeachersRequest) => listTeachers(views, request)),
      listExports: unary((request: v1.ListExportsRequest) => listExports(views, request)),
      statArtifact: unary((request: v1.StatArtifactRequest) => statArtifact(views, artifacts, request)),
      downloadArtifact: serverStreaming((request: v1.DownloadArtifactRequest) => downloadArtifact(views, artifacts, request)),
    };
  }
}
