/** The name of the database in the folder of a store. */
export const DATABASE_FILE = 'events.db';
