/** A message of the protocol: its bytes, or an object of a generated class. */
export type Encodable = Buffer | { serializeBinary(): Uint8Array };

const FRAME_HEADER_BYTES = 5;

/**
 * Several messages written as one. The gRPC library waits for the socket after each message, which limits a stream of small events to some
 * 20,000 a second. Many framed messages in one write are legal in gRPC, and several times faster. The library asks a serialized message for
 * its `byteLength`, and then has it `copy` itself behind the header of one frame. Here that header is changed to the first message's
 * length, and the other frames follow with headers of their own.
 */
export class MessageBatch {
  readonly byteLength: number;
  private readonly messages: Buffer[];

  constructor(messages: Iterable<Encodable>) {
    this.messages = Array.from(messages, bytesOf);
    const payload = this.messages.reduce((sum, message) => sum + message.length, 0);
    this.byteLength = payload + FRAME_HEADER_BYTES * Math.max(0, this.messages.length - 1);
  }

  copy(target: Buffer, start: number): number {
    let at = start - FRAME_HEADER_BYTES;
    for (const message of this.messages) {
      target.writeUInt8(0, at);
      target.writeUInt32BE(message.length, at + 1);
      message.copy(target, at + FRAME_HEADER_BYTES);
      at += FRAME_HEADER_BYTES + message.length;
    }
    return this.byteLength;
  }
}

/** The `responseSerialize` of methods that stream events. */
export function serializeResponse(message: Encodable | MessageBatch): Buffer {
  return message instanceof MessageBatch ? (message as unknown as Buffer) : bytesOf(message);
}

function bytesOf(message: Encodable): Buffer {
  return Buffer.isBuffer(message) ? message : Buffer.from(message.serializeBinary());
}
