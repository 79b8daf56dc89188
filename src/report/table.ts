/**
 * Tables for the terminal and for Markdown.
 *
 *   formatTable(['case', 'us/op'], [['stat@1', 1.04], ['stat@64', 0.98]]);
 *   formatTable(head, rows, { markdown: true });
 *
 * A column whose cells are all numbers (or numbers with a unit or a sign) is aligned right, any
 * other left. Plain strings out; printing is the caller's.
 */

export type Cell = string | number | null | undefined;

export interface TableOptions {
  /** GitHub Markdown instead of aligned text. */
  readonly markdown?: boolean;
  /** Text before every line; text tables only. */
  readonly indent?: string;
  /** Draw the rule under the heading with `-` instead of `─`. */
  readonly ascii?: boolean;
}

export function formatTable(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  options: TableOptions = {},
): string {
  for (const [index, row] of rows.entries()) {
    if (row.length !== head.length) {
      throw new RangeError(`row ${index} has ${row.length} cells, the heading has ${head.length}`);
    }
  }
  const { markdown = false, indent = '', ascii = false } = options;
  const text = rows.map((row) => row.map(cellText));
  const right = head.map((_, column) => isNumeric(text.map((row) => row[column])));

  if (markdown) {
    const line = (cells: readonly string[]) => `| ${cells.map(escapePipes).join(' | ')} |`;
    const rule = `|${right.map((isRight) => (isRight ? '---:' : '---')).join('|')}|`;
    return [line(head), rule, ...text.map(line)].join('\n');
  }

  const width = head.map((title, column) =>
    Math.max(displayWidth(title), ...text.map((row) => displayWidth(row[column]))),
  );
  const line = (cells: readonly string[]) =>
    (indent + cells.map((cell, i) => pad(cell, width[i], right[i])).join('  ')).trimEnd();
  const rule = indent + width.map((columns) => (ascii ? '-' : '─').repeat(columns)).join('  ');
  return [line(head), rule, ...text.map(line)].join('\n');
}

/** Three significant digits, never in exponent form: 0.123, 1.23, 12.3, 123, 1234. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const magnitude = Math.abs(value);
  if (magnitude === 0) return '0';
  if (magnitude >= 99.95) return value.toFixed(0);
  if (magnitude >= 9.995) return value.toFixed(1);
  if (magnitude >= 0.9995) return value.toFixed(2);
  return value.toFixed(3);
}

/** `1.23x`: how many times as much. */
export function formatRatio(value: number): string {
  return Number.isFinite(value) ? `${formatNumber(value)}x` : '-';
}

/** Columns a string takes on a terminal: escape sequences take none, a code point one. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const _ of text.replace(ESCAPE_SEQUENCE, '')) width++;
  return width;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours start with ESC
const ESCAPE_SEQUENCE = /\u001b\[[0-9;]*[A-Za-z]/g;

/** A number, perhaps signed, perhaps a range, perhaps with a short unit; or a dash for none. */
const NUMERIC = /^(-|–|[+-]?[\d.,]+ ?[a-zA-Zµ%/]{0,6}([-–][\d.,]+ ?[a-zA-Zµ%/]{0,6})?)$/;

function cellText(cell: Cell): string {
  if (cell === null || cell === undefined) return '-';
  return typeof cell === 'number' ? formatNumber(cell) : cell;
}

function isNumeric(column: readonly string[]): boolean {
  const filled = column.filter((cell) => cell !== '');
  return filled.length > 0 && filled.every((cell) => NUMERIC.test(cell));
}

function pad(cell: string, width: number, right: boolean): string {
  const space = ' '.repeat(width - displayWidth(cell));
  return right ? space + cell : cell + space;
}

function escapePipes(cell: string): string {
  return cell.replaceAll('|', '\\|');
}
