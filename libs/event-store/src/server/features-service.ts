import type { handleUnaryCall, MethodDefinition } from '@grpc/grpc-js';
import { featuresPb, gossipGrpc, gossipPb, sharedPb, streamsGrpc } from './protocol-classes.js';
import type { ServerContext } from './server-context.js';
import { randomUUID } from 'node:crypto';

/** The release of KurrentDB whose behaviour this server follows. */
const SERVER_VERSION = '26.1.0';

/** The methods of the implemented services that this server refuses. */
const REFUSED = ['Delete', 'Tombstone'];

export function featuresHandlers() {
  const response = supportedMethods();
  const getSupportedMethods: handleUnaryCall<sharedPb.Empty, featuresPb.SupportedMethods> = (_call, callback) => callback(null, response);
  return { getSupportedMethods };
}

function supportedMethods(): featuresPb.SupportedMethods {
  const response = new featuresPb.SupportedMethods();
  response.setEventStoreServerVersion(SERVER_VERSION);
  for (const service of [streamsGrpc.StreamsService, gossipGrpc.GossipService]) {
    for (const { path } of Object.values(service) as MethodDefinition<unknown, unknown>[]) {
      const [, serviceName = '', methodName = ''] = path.split('/');
      if (REFUSED.includes(methodName)) continue;
      const method = new featuresPb.SupportedMethod();
      method.setServiceName(serviceName.toLowerCase());
      method.setMethodName(methodName.toLowerCase());
      response.addMethods(method);
    }
  }
  return response;
}

/** Answers gossip as a cluster of one node, which is the leader. */
export function gossipHandlers(context: ServerContext) {
  const instanceId = new sharedPb.UUID();
  instanceId.setString(randomUUID());
  const read: handleUnaryCall<sharedPb.Empty, gossipPb.ClusterInfo> = (_call, callback) => {
    const endPoint = new gossipPb.EndPoint();
    endPoint.setAddress(context.advertised.host);
    endPoint.setPort(context.advertised.port);
    const member = new gossipPb.MemberInfo();
    member.setInstanceId(instanceId);
    member.setTimeStamp(`${Date.now()}0000`);
    member.setState(gossipPb.MemberInfo.VNodeState.LEADER);
    member.setIsAlive(true);
    member.setHttpEndPoint(endPoint);
    const info = new gossipPb.ClusterInfo();
    info.addMembers(member);
    callback(null, info);
  };
  return { read };
}
