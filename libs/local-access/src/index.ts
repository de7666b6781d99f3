// Who on this machine may reach a server, where no login asks for more.
export { LOGIN_PATH, LoginKeys, loginLink } from './login-link.js';
export { isLoopbackAddress } from './loopback.js';
export { listenForSameUser, type SameUserListener } from './same-user-listener.js';
export { peerUid, type ConnectionEnds } from './peer-uid.js';
export { addressProblem } from './engine-address.js';
export { serverUids } from './server-uid.js';
