// The defaults of a setting: one for each preset that has its own.

export interface PresetDefaults {
  /** Every preset that has none of its own takes it. */
  default: string;
  paper: string;
  nuteprune2: string;
}

/** The default as a text, or in words how it is found. */
export function presetDefault(defaults: PresetDefaults, preset: string): string {
  const own = preset === 'paper' ? defaults.paper : preset === 'nuteprune2' ? defaults.nuteprune2 : '';
  return own || defaults.default;
}
