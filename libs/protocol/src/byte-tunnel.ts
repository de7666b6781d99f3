// Sends the bytes of a connection in the messages of a gRPC stream, no faster than the other end takes them
// (docs/design/joined-engines.md).
import { Duplex } from 'node:stream';

/** The longest piece in one message. It is small enough that a health check does not wait long behind it. */
export const TUNNEL_PIECE_BYTES_MAX = 256 << 10;
/** The most bytes under way in each direction. At a delay of 200 ms this allows at most 40 MiB a second. */
export const TUNNEL_WINDOW_BYTES = 8 << 20;

/** One end of a gRPC stream, with messages in and out. */
export interface TunnelCall {
  on(event: string, listener: (value: object) => void): unknown;
  pause(): unknown;
  resume(): unknown;
  write(message: never, done: () => void): unknown;
}

export interface TunnelEnds {
  /** Returns the bytes in a message. @throws the error that ends the tunnel */
  bytesIn: (message: never) => Uint8Array;
  messageOf: (data: Buffer) => object;
  /** Ends the stream after the last byte. */
  finish: () => void;
  /** Ends the stream of a tunnel that was given up. */
  abandon: (error: Error | null) => void;
}

export class ByteTunnel extends Duplex {
  /** Called for each message of the other end. (A listener for `data` would take bytes from the reader.) */
  onHeard: () => void = () => undefined;

  constructor(
    private readonly call: TunnelCall,
    private readonly ends: TunnelEnds,
  ) {
    super({ allowHalfOpen: false, readableHighWaterMark: TUNNEL_PIECE_BYTES_MAX, writableHighWaterMark: TUNNEL_PIECE_BYTES_MAX });
    call.on('data', (message) => this.receive(message));
    call.on('end', () => this.push(null));
    call.on('error', (error) => this.destroy(error as Error));
    call.on('cancelled', () => this.destroy());
    call.on('close', () => this.destroy());
  }

  private receive(message: object): void {
    if (this.destroyed) return;
    this.onHeard();
    try {
      const bytes = this.ends.bytesIn(message as never);
      if (bytes.byteLength > 0 && !this.push(bytes)) this.call.pause();
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  override _read(): void {
    this.call.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    const send = (start: number): void => {
      if (this.destroyed) return;
      const end = Math.min(start + TUNNEL_PIECE_BYTES_MAX, chunk.byteLength);
      const sent = end < chunk.byteLength ? () => send(end) : () => done();
      this.call.write(this.ends.messageOf(chunk.subarray(start, end)) as never, sent);
    };
    send(0);
  }

  override _final(done: () => void): void {
    this.ends.finish();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.ends.abandon(error);
    done(error);
  }
}
