// The limit of the text that packed files unpack to. A gzip stream of a megabyte can unpack to a gigabyte, a page of a Parquet file to
// far more. So unpacked bytes are counted at once, and compared with the bytes read from the disk, over all files of a
// corpus. Text packs to between a third and a tenth; the limits leave room for very repetitive text.
import { ModelFilesError } from './model-files.errors.js';

/** Bytes that may come out of each byte that was read ... */
const RATIO_MAX = 100;
/** ... beyond these, which are free: small files of repetitive text pack better. */
const FREE_BYTES = 16 << 20;

export class UnpackBudget {
  private packed = 0;
  private unpacked = 0;

  /** @param mostBytes that may come out in all */
  constructor(private readonly mostBytes = Infinity) {}

  /** Counts bytes of packed files that were read. */
  read(bytes: number): void {
    this.packed += bytes;
  }

  /** Counts bytes that came, or are about to come, out of them. @throws ModelFilesError DATA_TOO_LARGE */
  unpack(bytes: number, file: string): void {
    this.unpacked += bytes;
    if (this.unpacked > this.mostBytes)
      throw new ModelFilesError('DATA_TOO_LARGE', `${file} unpacks to more than ${this.mostBytes} bytes, the limit here`, { file });
    if (this.unpacked <= FREE_BYTES + RATIO_MAX * this.packed) return;
    throw new ModelFilesError(
      'DATA_TOO_LARGE',
      `${file} unpacks to too much: ${Math.round(this.packed)} packed bytes have become more than ${Math.round(this.unpacked - bytes)}; ` +
        `at most ${FREE_BYTES >> 20} MiB and ${RATIO_MAX} bytes for each packed one are allowed`,
      { file },
    );
  }
}
