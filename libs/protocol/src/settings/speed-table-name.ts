// The setting speed_table names a table that the server keeps, by its digest, or a file, or no table.

/** The value of speed_table in a run without a table. */
export const NO_TABLE = 'none';

const DIGEST = /^[0-9a-f]{4,64}$/;

/** Tells whether the value names a file. A file whose name looks like (the beginning of) a digest is named with its folder: ./NAME. */
export const namesTableFile = (speedTable: string): boolean => speedTable !== NO_TABLE && !DIGEST.test(speedTable);
