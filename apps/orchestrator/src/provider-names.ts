// The names under which app.module.ts provides all that is not one of the server's classes.
export const EVENT_STORE = Symbol('EventStore');
export const ARTIFACT_STORE = Symbol('ArtifactStore');
export const ORCHESTRATOR_CONFIG = Symbol('OrchestratorConfig');
/** The steps that the engines of this orchestrator have reported and that are not recorded yet. */
export const LIVE_PROGRESS = Symbol('LiveProgress');
/** The pino logger that all parts share. */
export const LOGGER = Symbol('Logger');
/** The token that clients must show, or null where every user of this machine may call. */
export const ACCESS_TOKEN = Symbol('AccessToken');
/** The certificate of the server's ports, or null where they have no TLS. */
export const TLS_IDENTITY = Symbol('TlsIdentity');
/** The settings of webhooks, with an empty list of receivers where there are none. */
export const WEBHOOKS = Symbol('WebhookSettings');
/** The settings of the fleet, or null where the server has none. */
export const FLEET = Symbol('FleetSettings');
/** The file of the callers' quotas of engine hours, or null for none. */
export const QUOTAS = Symbol('Quotas');
/** The id of the data folder, which stays the same across restarts. */
export const FOLDER_ID = Symbol('FolderId');
/** The function that lends an engine for verification; app.module.ts provides it. */
export const BORROW_ENGINES = Symbol('BorrowEngines');
/** The counts of open calls, which all servers of the process share. */
export const OPEN_CALLS = Symbol('OpenCalls');
/** The settings of the OpenID provider by which people log in, or null for none. */
export const OIDC = Symbol('OIDC');
/** The function that reads the key of this server's cookies and sealed texts. */
export const COOKIE_KEY = Symbol('COOKIE_KEY');
