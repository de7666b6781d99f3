// Names under which app.module.ts provides what is not a class of ours.
export const EVENT_STORE = Symbol('EventStore');
export const ARTIFACT_STORE = Symbol('ArtifactStore');
export const ORCHESTRATOR_CONFIG = Symbol('OrchestratorConfig');
/** Steps that the engines of this orchestrator have reported and that are not recorded yet. */
export const LIVE_PROGRESS = Symbol('LiveProgress');
/** pino's, shared by all. */
export const LOGGER = Symbol('Logger');
/** The token that clients must show; null: every user of this machine may call. */
export const ACCESS_TOKEN = Symbol('AccessToken');
/** The certificate of the server's ports; null: they speak without TLS. */
export const TLS_IDENTITY = Symbol('TlsIdentity');
/** The receivers that are told of what happens; an empty list: none. */
export const WEBHOOKS = Symbol('WebhookSettings');
/** The fleet file's settings; null: the server has no fleet. */
export const FLEET = Symbol('FleetSettings');
/** The id of the data folder, which stays the same across restarts. */
export const FOLDER_ID = Symbol('FolderId');
/** Gives an engine for verification; provided by app.module.ts. */
export const BORROW_ENGINE = Symbol('BorrowEngine');
/** Counts the calls that are open at any of the servers. */
export const OPEN_CALLS = Symbol('OpenCalls');
/** The file of the OpenID provider that people log in by; null: none. */
export const OIDC = Symbol('OIDC');
/** Reads the key by which this server knows its cookies, and what it has sealed, again. */
export const COOKIE_KEY = Symbol('COOKIE_KEY');
