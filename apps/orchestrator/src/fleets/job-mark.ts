// Tells by its mark whose job one is. A server touches the jobs of its own fleet by itself, and no others.

/** The marks of a job. A job has those that its server knew as it was asked for. */
export interface JobMark {
  /** The digest of the data folder's id and place, and of the fleet's name. */
  fleetId: string;
  /** The digest of the data folder's id. A restored or moved folder keeps it. */
  folderId: string;
  /** The digest of the address at which the job's engine joins. */
  addressId: string;
}

/**
 * A stray has the mark of Espalier, and may bring an engine to this server: its fleet had another name or its folder lay elsewhere, its
 * engine joins at this server's address, or the job does not say. It takes a place, and only a person's command ends it.
 */
export type JobOwner = 'fleet' | 'stray' | 'elsewhere';

export function ownerOf(own: JobMark, of: { [Key in keyof JobMark]: string | undefined }): JobOwner {
  if (of.fleetId === own.fleetId) return 'fleet';
  if (of.folderId === undefined || of.addressId === undefined) return 'stray';
  return of.folderId === own.folderId || of.addressId === own.addressId ? 'stray' : 'elsewhere';
}
