// The public protocol, espalier.v1, as one namespace.
export * from './generated/espalier/v1/common.js';
export * from './generated/espalier/v1/run_service.js';
export * from './generated/espalier/v1/history_service.js';
export * from './generated/espalier/v1/artifact_service.js';
export * from './generated/espalier/v1/setting.js';
export * from './generated/espalier/v1/engine_service.js';
export * from './generated/espalier/v1/engine_gateway_service.js';
export * from './generated/espalier/v1/study_service.js';
export * from './generated/espalier/v1/page_service.js';
export * from './generated/espalier/v1/access.js';
export * from './generated/espalier/v1/access_service.js';
