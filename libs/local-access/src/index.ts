// Decides which users of this machine may reach a server without a login.
export { LOGIN_PATH, LoginKeys, loginLink } from './login-link.js';
export { hostAndPort, isLoopbackAddress, isLoopbackHost } from './loopback.js';
export { isOwnUser, isOwnUserOrRoot, openDoor, openGrpcDoor, type Door, type DoorOptions, type GrpcDoor, type Refusal } from './door.js';
export { watchSessions, widen } from './http2-sessions.js';
export { tlsProblemIn, type TlsProblem } from './tls-problems.js';
export type { Peer } from './connection-users.js';
export { peerUid, type ConnectionEnds } from './peer-uid.js';
export { ReportLimiter } from './report-limiter.js';
export { newAuthority, signedBy, type CertificateWish, type Signed } from './certificates.js';
export { readCertificate, readCertificatesOnly, readTlsPair, type TlsPair } from './tls-files.js';
export { TlsIdentity, type TlsFiles } from './tls-identity.js';
export { addressProblem } from './engine-address.js';
export { serverUids } from './server-uid.js';
export { connectionWords } from './connection-words.js';
