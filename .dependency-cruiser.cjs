// Import rules of ARCHITECTURE.md, checked with the tests.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const orchestrator = 'apps/orchestrator/src';
// The folders of the orchestrator, lowest first. A folder imports from folders before it, never from one after it.
const folders = [...readFileSync(join(__dirname, orchestrator, 'README.md'), 'utf8').matchAll(/^- `(.+)`$/gm)].map(([, name]) => name);
const inFolder = (folder) => `^${orchestrator}/${folder}/[^/]+$`;
const oneWay = folders.slice(0, -1).map((folder, place) => ({
  name: `one-way-${folder.replaceAll('/', '-')}`,
  comment: 'the folders of the orchestrator know each other one way (apps/orchestrator/src/README.md)',
  severity: 'error',
  from: { path: inFolder(folder), pathNot: '(\\.test|/testing)\\.ts$' },
  to: { path: folders.slice(place + 1).map(inFolder) },
}));
const pure = `^${orchestrator}/pruning-run/(record|method|aggregate|planning)/`;
module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment: 'types may know each other',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'libs-know-no-apps', severity: 'error', from: { path: '^libs/' }, to: { path: '^apps/' } },
    {
      name: 'apps-apart',
      comment: "apps talk over gRPC, not by import (tests may start each other's processes)",
      severity: 'error',
      from: { path: '^apps/([^/]+)/src', pathNot: '\\.test\\.ts$' },
      to: { path: '^apps/([^/]+)/', pathNot: '^apps/$1/' },
    },
    {
      name: 'dashboard-is-a-client',
      comment: 'the page uses nothing of the server but the public API, and runs in a browser',
      severity: 'error',
      from: { path: '^apps/dashboard/' },
      to: { path: ['^libs/(?!comparison/)', '^apps/(?!dashboard/)', '^native-engine/', 'node_modules/@(grpc|nestjs|kurrent)'] },
    },
    {
      name: 'comparison-runs-anywhere',
      comment: 'the dashboard has it in the browser',
      severity: 'error',
      from: { path: '^libs/comparison/', pathNot: '\\.test\\.ts$' },
      to: { pathNot: '^libs/comparison/' },
    },
    {
      name: 'store-client-in-one-place',
      comment: 'only libs/event-store speaks to the event store',
      severity: 'error',
      from: { pathNot: '^libs/event-store/' },
      to: { path: 'node_modules/@kurrent' },
    },
    {
      name: 'embedded-store-knows-no-calls',
      comment: "the embedded server's store is used without gRPC too: by backup, restore and verification",
      severity: 'error',
      from: { path: '^libs/event-store/src/server/store/', pathNot: '\\.test\\.ts$' },
      to: { path: ['^libs/event-store/src/server/[^/]+$', 'node_modules/@grpc'] },
    },
    {
      name: 'bucket-client-in-one-place',
      comment: 'only libs/artifact-store/src/s3 speaks to buckets (and the server of its tests), so that no other start loads the client',
      severity: 'error',
      from: { pathNot: '^libs/artifact-store/src/(s3|testing)/' },
      to: { path: 'node_modules/@aws-sdk' },
    },
    {
      name: 'addon-in-one-place',
      comment: 'only the engine process loads the native addon; tests may make the small models of its tests',
      severity: 'error',
      from: { pathNot: '^(apps/engine|native-engine)/' },
      to: { path: '^native-engine/', pathNot: '^native-engine/testing\\.ts$' },
    },
    {
      name: 'domain-is-pure',
      comment: 'the aggregate and its rules know no framework, store or network, but for types; the audit describes the events',
      severity: 'error',
      from: { path: pure, pathNot: '\\.test\\.ts$' },
      to: {
        path: ['node_modules', '^libs/(?!(protocol|comparison|audit)/)', `^${orchestrator}/[^/]+$`],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'domain-asks-no-machine',
      comment: 'no files, clocks or processes either: callers hand over what the rules need to know',
      severity: 'error',
      from: { path: pure, pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'every-folder-has-its-place',
      comment: 'each folder of the orchestrator stands in the list of its README',
      severity: 'error',
      from: {},
      to: { path: `^${orchestrator}/.+/`, pathNot: folders.map(inFolder) },
    },
    {
      name: 'composition-on-top',
      comment: 'app.module.ts and main.ts put the parts together; nothing imports them',
      severity: 'error',
      from: { path: `^${orchestrator}/.+/`, pathNot: '\\.test\\.ts$' },
      to: { path: `^${orchestrator}/(app\\.module|main)\\.ts$` },
    },
    ...oneWay,
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^dist|generated' },
    tsConfig: { fileName: 'tsconfig.json' },
    webpackConfig: { fileName: 'scripts/source-names.cjs' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { conditionNames: ['import', 'node', 'default'], exportsFields: ['exports'] },
  },
};
