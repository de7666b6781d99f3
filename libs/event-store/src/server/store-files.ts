/** In the folder of a store: its database. */
export const DATABASE_FILE = 'events.db';
