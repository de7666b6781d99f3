// The protocols of Espalier: generated messages and services, errors on the wire, handler wrappers.
export * as v1 from './v1.js';
export * as reflectionV1 from './generated/grpc/reflection/v1/reflection.js';
export * as engineV1 from './generated/espalier/engine/v1/engine_service.js';
export * from './bearer-token.js';
export * from './counted.js';
export * from './descriptors.js';
export * from './error-codes.js';
export * from './espalier-error.js';
export * from './handlers.js';
export * from './reflection.js';
export * from './request-checks.js';
export * from './request-id.js';
export * from './service-error.js';
export * from './visible-text.js';
export * from './settings/setting-checks.js';
export * from './settings/setting-values.js';
export * from './settings/settings-table.js';
export * from './settings/settings-words.js';
