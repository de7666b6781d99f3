// Limits the text that packed files unpack to. A gzip stream of a megabyte can unpack to a gigabyte, a page of a Parquet file to far more.
// So unpacked bytes are counted at once and compared with the bytes read from the disk, over all files of a corpus. Text packs to between a
// third and a tenth; the limits leave room for very repetitive text.
import { ModelFilesError } from '../model-files.errors.js';

/** The most unpacked bytes for each byte that was read, not counting the free bytes. */
const RATIO_MAX = 100;
/** The unpacked bytes that are free, because small files of repetitive text pack better. */
const FREE_BYTES = 16 << 20;

export class UnpackBudget {
  private packed = 0;
  private unpacked = 0;

  /** @param mostBytes the most unpacked bytes in all */
  constructor(private readonly mostBytes = Infinity) {}

  /** Counts bytes that were read from packed files. */
  read(bytes: number): void {
    this.packed += bytes;
  }

  /** Counts bytes that were, or are about to be, unpacked. @throws ModelFilesError DATA_TOO_LARGE */
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
