// A cell of a CSV file. Names come from anywhere, and a spreadsheet runs a text that looks like a formula. A quote mark in front prevents
// that. A program that cuts lines at semicolons or tabs finds cells within ours, so what follows those is looked at too.
const FORMULA = /(^|[;\t\r\n])(["\s]*[=+\-@\t\r＝＋－＠])/g;
const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

export function csvCell(text: string): string {
  const safe = NUMBER.test(text) ? text : text.replace(FORMULA, "$1'$2");
  return /[",;\n\r\t]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
