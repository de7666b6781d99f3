// The defaults of a setting. A preset may have a default of its own.

export interface PresetDefaults {
  /** The default of each preset that has none of its own. */
  default: string;
  paper: string;
  nuteprune2: string;
  fisher: string;
}

/** Returns the default as a text, or words that say how it is computed. */
export function presetDefault(defaults: PresetDefaults, preset: string): string {
  const own = preset === 'paper' || preset === 'nuteprune2' || preset === 'fisher' ? defaults[preset] : '';
  return own || defaults.default;
}
