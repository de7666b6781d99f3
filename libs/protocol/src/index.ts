export * as v1 from './v1.js';
export * as engineV1 from './generated/espalier/engine/v1/engine_service.js';
