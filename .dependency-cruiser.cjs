// Import rules of ARCHITECTURE.md, checked with the tests.
const pure =
  '^apps/orchestrator/src/pruning-run/(pruning-run|pruning-run\\.events|teacher-policy|sparsity-schedule|segment-planning|run-settings|obstacles)\\.ts$';
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
      name: 'store-client-in-one-place',
      comment: 'only libs/event-store speaks to the event store',
      severity: 'error',
      from: { pathNot: '^libs/event-store/' },
      to: { path: 'node_modules/@kurrent' },
    },
    {
      name: 'addon-in-one-place',
      comment: 'only the engine process loads the native addon',
      severity: 'error',
      from: { pathNot: '^(apps/engine|native-engine)/' },
      to: { path: '^native-engine/' },
    },
    {
      name: 'domain-is-pure',
      comment: 'the aggregate and its rules know no framework, store or network',
      severity: 'error',
      from: { path: pure },
      to: { path: 'node_modules|^libs/(event-store|artifact-store)|run-execution|run-views' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^dist|generated' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { conditionNames: ['import', 'node', 'default'], exportsFields: ['exports'] },
  },
};
