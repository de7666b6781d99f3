// The content of the file of a fleet, read.

export const FLEET_KINDS = ['slurm', 'kubernetes', 'local'] as const;
export type FleetKind = (typeof FLEET_KINDS)[number];

export interface FleetSettings {
  kind: FleetKind;
  /** Engines and jobs are named after it. */
  name: string;
  maxEngines: number;
  /** Threads of each engine, and processors of its job. */
  cpus: number;
  /** Cards of each engine, which compute the steps of its run together; null: it computes on the processor. */
  cards: { type: string | null; count: number } | null;
  /** The memory of each job; null: as the cluster gives it. */
  memoryGb: number | null;
  /** An engine without work ends after this time. */
  idleSeconds: number;
  /** The time between two looks at the jobs. */
  pollSeconds: number;
  /** The server, as engines reach it; null: at its own address on this machine. */
  join: string | null;
  /** The authority of the server's certificate. */
  tlsCa: string | null;
  /** How a job starts an engine, before the engine's options; null: the program of this installation. */
  command: readonly string[] | null;
  /** Where the server keeps the token of its engines; null: in its data folder. */
  tokenFile: string | null;
  /** For what jobs print; null: in the data folder. */
  logs: string | null;
  /** One of the two for a fleet of a cluster. */
  slurm: SlurmSettings | null;
  kubernetes: KubernetesSettings | null;
}

/** The wishes of each job. */
export interface SlurmSettings {
  /** The first that has room is taken; an empty list: the cluster's default. */
  partitions: readonly string[];
  timeLimitMinutes: number | null;
  /** So long before the time limit an engine is told to end. */
  warningSeconds: number;
  /** Options of sbatch beside those. */
  options: readonly string[];
}

export interface KubernetesSettings {
  /** How the cluster is reached; null: as kubectl finds it, or by the service account of the server's own pod. */
  kubeconfig: string | null;
  /** null: the current one. */
  context: string | null;
  /** null: that of the context. */
  namespace: string | null;
  image: string;
  timeLimitMinutes: number | null;
  /** An engine that is told to end has this time. */
  graceSeconds: number;
  /** The rest of a pod, beside what the fleet sets. */
  podTemplate: PodTemplate;
}

/** As Kubernetes' PodTemplateSpec has it; the cluster checks its fields. */
export interface PodTemplate {
  metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
  spec?: Record<string, unknown> & { containers?: [Record<string, unknown>]; volumes?: unknown[] };
}
