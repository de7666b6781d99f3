/** Splits typed conditions at the commas between them. A comma within a value ("lora_targets=q_proj,k_proj") does not split. */
export const conditionsIn = (text: string): string[] =>
  text
    .split(/,(?=[^,=<>!]*[=<>!])/)
    .map((one) => one.replace(/[,\s]+$/, '').trim())
    .filter(Boolean);
