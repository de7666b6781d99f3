// The setting speed_table names no table, a table that the server keeps, by its digest, or a file.

/** The value of speed_table in a run without a table. */
export const NO_TABLE = 'none';

const DIGEST = /^[0-9a-f]{64}$/;

/** A file whose name is a digest is named with its folder: ./NAME. */
export const namesTableFile = (speedTable: string): boolean => speedTable !== NO_TABLE && !DIGEST.test(speedTable);
