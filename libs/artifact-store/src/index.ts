export * from './artifact-store.js';
export * from './open-artifact-store.js';
export * from './artifact-store.errors.js';
export * from './digest.js';
export * from './export-manifest.js';
export { GGUF_HEAD_BYTES, renewSeal, sealIn, withoutSeal } from './gguf-seal.js';
export * from './media-type.js';
export { syncPath } from './sync-path.js';
