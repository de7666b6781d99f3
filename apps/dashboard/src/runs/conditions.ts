/** Conditions as they are typed, with commas between. A comma within a value ("lora_targets=q_proj,k_proj") divides nothing. */
export const conditionsIn = (text: string): string[] =>
  text
    .split(/,(?=[^,=<>!]*[=<>!])/)
    .map((one) => one.replace(/[,\s]+$/, '').trim())
    .filter(Boolean);
