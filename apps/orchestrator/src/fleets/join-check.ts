// Asks the address at which engines join whether it is this server. Another server there would refuse the engines of each job.
import { readFileSync } from 'node:fs';
import { credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { bearerToken, v1 } from '#protocol';

const ANSWER_MS = 5_000;

/** 'ours': the server there knows this server's token. 'other': it does not. Else the reason why it can't be asked from here. */
export type JoinAnswer = 'ours' | 'other' | { unreachable: string };

/** @param join an address as the fleet's file has it @param token one that lets engines in */
export async function askJoinAddress(join: string, tlsCa: string | null, token: string): Promise<JoinAnswer> {
  const isSecret = join.startsWith('https://');
  const address = join.replace(/^https?:\/\//, '').replace(/\/$/, '');
  let client: v1.AccessServiceClient | undefined;
  try {
    const authority = isSecret && tlsCa !== null ? readFileSync(tlsCa) : null;
    const channel = isSecret ? credentials.createSsl(authority) : credentials.createInsecure();
    client = new v1.AccessServiceClient(address, channel, bearerToken(token));
    const asking = client;
    const error = await new Promise<ServiceError | null>((resolve) => {
      asking.getCaller({}, new Metadata(), { deadline: Date.now() + ANSWER_MS }, resolve);
    });
    // The token lets engines in and opens nothing else, so its own server refuses the call by the role of the token.
    if (error === null || error.code === status.PERMISSION_DENIED) return 'ours';
    return error.code === status.UNAUTHENTICATED ? 'other' : { unreachable: error.details };
  } catch (error) {
    return { unreachable: (error as Error).message };
  } finally {
    client?.close();
  }
}
