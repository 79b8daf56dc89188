/**
 * Line plots in text: several series over one pair of axes.
 *
 *   formatPlot([{ name: 'ring', points: [[1, 510], [64, 112]] }], { logX: true, yLabel: 'ns' });
 *
 * Points are drawn with the series' marker and joined by dots. Where two series meet, the one
 * given first is on top.
 */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface PlotOptions {
  /** Columns and rows of the drawing area, without axes. */
  readonly width?: number;
  readonly height?: number;
  /** Logarithmic axes; every value on one must be above zero. */
  readonly logX?: boolean;
  readonly logY?: boolean;
  readonly title?: string;
  readonly xLabel?: string;
  readonly yLabel?: string;
  /** Only characters of ASCII. */
  readonly ascii?: boolean;
}

const UNICODE = { markers: ['●', '○', '▲', '△', '■', '□', '◆', '◇'], dot: '·', y: '┤', x: '─' };
const ASCII = { markers: ['*', 'o', '+', 'x', '#', '@', '%', '&'], dot: '.', y: '|', x: '-' };

export function formatPlot(series: readonly Series[], options: PlotOptions = {}): string {
  const { width = 64, height = 16, logX = false, logY = false, ascii = false } = options;
  if (width < 8 || height < 2) throw new RangeError('a plot takes at least 8 columns and 2 rows');
  const glyphs = ascii ? ASCII : UNICODE;
  const all = series.flatMap((one) => one.points);
  if (all.length === 0) return `${options.title ?? 'plot'}: no points`;

  const x = axis(
    all.map((point) => point[0]),
    logX,
    'x',
  );
  // A linear y axis starts at zero: cutting it off exaggerates differences.
  const y = axis(logY ? all.map((point) => point[1]) : [0, ...all.map((p) => p[1])], logY, 'y');
  const canvas = Array.from({ length: height }, () => new Array<string>(width).fill(' '));
  const column = (value: number) => Math.round(x.place(value) * (width - 1));
  const row = (value: number) => height - 1 - Math.round(y.place(value) * (height - 1));

  // Last series first, so that the first one is drawn over the others.
  for (let s = series.length - 1; s >= 0; s--) {
    const marker = glyphs.markers[s % glyphs.markers.length];
    const points = [...series[s].points].sort((a, b) => a[0] - b[0]);
    for (let p = 1; p < points.length; p++) {
      const [fromColumn, fromRow] = [column(points[p - 1][0]), row(points[p - 1][1])];
      const [toColumn, toRow] = [column(points[p][0]), row(points[p][1])];
      const steps = Math.max(Math.abs(toColumn - fromColumn), Math.abs(toRow - fromRow));
      for (let step = 1; step < steps; step++) {
        const atColumn = Math.round(fromColumn + ((toColumn - fromColumn) * step) / steps);
        const atRow = Math.round(fromRow + ((toRow - fromRow) * step) / steps);
        canvas[atRow][atColumn] = glyphs.dot;
      }
    }
    for (const [px, py] of points) canvas[row(py)][column(px)] = marker;
  }

  const labels = canvas.map((_, r) =>
    r % 4 === 0 || r === height - 1 ? tick(y.value((height - 1 - r) / (height - 1))) : '',
  );
  const margin = Math.max(...labels.map((label) => label.length), 1);
  const lines: string[] = [];
  if (options.title) lines.push(options.title);
  if (options.yLabel) lines.push(options.yLabel);
  for (const [r, cells] of canvas.entries()) {
    lines.push(`${labels[r].padStart(margin)} ${glyphs.y}${cells.join('')}`.trimEnd());
  }
  lines.push(`${' '.repeat(margin)} ${ascii ? '+' : '└'}${glyphs.x.repeat(width)}`);
  lines.push(`${' '.repeat(margin)}  ${xTicks(x, width, series)}`.trimEnd());
  if (options.xLabel) {
    const scale = logX ? `${options.xLabel} (log scale)` : options.xLabel;
    lines.push(`${' '.repeat(margin)}  ${scale}`);
  }
  const legend = series.map((one, s) => `${glyphs.markers[s % glyphs.markers.length]} ${one.name}`);
  lines.push(`${' '.repeat(margin)}  ${legend.join('   ')}`);
  return lines.join('\n');
}

interface Axis {
  /** Where a value lies, from 0 to 1. */
  place(value: number): number;
  /** The value at a place from 0 to 1. */
  value(place: number): number;
}

function axis(values: readonly number[], log: boolean, name: string): Axis {
  for (const value of values) {
    if (!Number.isFinite(value)) throw new RangeError(`${name} must be finite, got ${value}`);
    if (log && value <= 0) throw new RangeError(`a logarithmic ${name} axis has no ${value}`);
  }
  const forward = log ? Math.log2 : (value: number) => value;
  const backward = log ? (value: number) => 2 ** value : (value: number) => value;
  // Not Math.min(...values): a spread overflows the stack with many points.
  const low = forward(values.reduce((a, b) => Math.min(a, b)));
  const high = forward(values.reduce((a, b) => Math.max(a, b)));
  const span = high - low || 1;
  return {
    place: (value) => (forward(value) - low) / span,
    value: (place) => backward(low + place * span),
  };
}

/** Labels under the x axis: at the points' own values, as many as fit. */
function xTicks(x: Axis, width: number, series: readonly Series[]): string {
  const values = [...new Set(series.flatMap((one) => one.points.map((point) => point[0])))];
  values.sort((a, b) => a - b);
  let line = '';
  for (const value of values) {
    const label = tick(value);
    const centred = Math.round(x.place(value) * (width - 1)) - Math.floor(label.length / 2);
    const start = Math.max(0, Math.min(centred, width - label.length));
    if (line !== '' && start <= line.length) continue;
    line = line.padEnd(start) + label;
  }
  return line;
}

function tick(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude >= 1e6) return `${trim(value / 1e6)}M`;
  if (magnitude >= 1e4) return `${trim(value / 1e3)}k`;
  return trim(value);
}

function trim(value: number): string {
  return String(Number(value.toPrecision(3)));
}
