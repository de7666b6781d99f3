// Makes a cell of a CSV file safe. Names come from anywhere, and a spreadsheet runs a text that looks like a formula. A quote mark in front
// prevents this. A program that splits lines at semicolons or tabs finds further cells inside a cell, so the text after those characters is
// checked too.
const FORMULA = /(^|[;\t\r\n])(["\s]*[=+\-@\t\r＝＋－＠])/g;
const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

export function csvCell(text: string): string {
  const safe = NUMBER.test(text) ? text : text.replace(FORMULA, "$1'$2");
  return /[",;\n\r\t]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
