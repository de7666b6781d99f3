// The settings of a fleet, as read from its file.

export const FLEET_KINDS = ['slurm', 'kubernetes', 'local'] as const;
export type FleetKind = (typeof FLEET_KINDS)[number];

export interface FleetSettings {
  kind: FleetKind;
  /** The fleet's name, from which its engines and jobs get theirs. */
  name: string;
  maxEngines: number;
  /** The time between two looks at the jobs. */
  pollSeconds: number;
  /** The server's address as engines reach it, or null for its own address on this machine. */
  join: string | null;
  /** The file with the authority of the server's certificate. */
  tlsCa: string | null;
  /** The file in which the server keeps the token of its engines, or null for one in its data folder. */
  tokenFile: string | null;
  /** The folder for the output of jobs, or null for one in the data folder. */
  logs: string | null;
  /** The logs of jobs go when they were last written this number of days ago. */
  keepLogsDays: number;
  /** The accounts of a Slurm cluster in whose name jobs for the runs of these callers are asked for. */
  accounts: Readonly<Record<string, string>>;
  /** The kinds of job, a preferred one first. A file without kinds has one, whose name is ''. */
  jobs: readonly [JobKind, ...JobKind[]];
}

/** The settings of the jobs of one kind. */
export interface JobKind {
  name: string;
  /** The number of threads of each engine, and of processors of its job. */
  cpus: number;
  /** The cards of each engine, which compute the steps of its run together. Null where it computes on the processor. */
  cards: { type: string | null; count: number } | null;
  /** The memory of each job, or null for the cluster's default. */
  memoryGb: number | null;
  /** An engine without work ends after this time. */
  idleSeconds: number;
  /** The command that starts an engine, without the engine's options. Null for the program of this installation. */
  command: readonly string[] | null;
  /** A job of a cluster has one of these two. */
  slurm: SlurmSettings | null;
  kubernetes: KubernetesSettings | null;
}

export interface SlurmSettings {
  /** The partitions, of which the first with room is taken. An empty list means the cluster's default. */
  partitions: readonly string[];
  timeLimitMinutes: number | null;
  /** The time before the time limit at which an engine is told to end. */
  warningSeconds: number;
  /** Further options of sbatch. */
  options: readonly string[];
}

/** How the cluster is reached, and the Secret, are the same for all kinds of job. */
export interface KubernetesSettings {
  /** The file that tells how to reach the cluster. Null where kubectl's own file does, or the service account of the server's pod. */
  kubeconfig: string | null;
  /** The context in that file, or null for the current one. */
  context: string | null;
  /** Null for the namespace of the context. */
  namespace: string | null;
  image: string;
  /**
   * The Secret that is there for the files of the pods, so that the server needs a right to this one alone. Null: the server makes one.
   */
  secret: string | null;
  timeLimitMinutes: number | null;
  /** The time that an engine has after it is told to end. */
  graceSeconds: number;
  /** The parts of a pod that the fleet does not set. */
  podTemplate: PodTemplate;
}

/** A PodTemplateSpec of Kubernetes. The cluster checks its fields. */
export interface PodTemplate {
  metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
  spec?: Record<string, unknown> & { containers?: [Record<string, unknown>]; volumes?: unknown[] };
}
