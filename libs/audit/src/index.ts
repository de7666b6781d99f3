export { canonicalJson, chainAfter, sha256Hex } from './canonical-json.js';
export * from './history-checker.js';
export * from './metrics-checker.js';
export * from './lineage-checker.js';
export * from './event-schemas.js';
export * from './bundle-format.js';
export * from './bundle-signature.js';
export * from './bundle-writer.js';
export * from './bundle-checker.js';
