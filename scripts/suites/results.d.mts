/** Types of results.mjs, for its test. */

export interface Result {
  readonly outcome: 'pass' | 'fail' | 'skip';
  /** Not a test of its own: a suite, a hook, a whole file. Compared, but not counted. */
  readonly suite: boolean;
  /** Relative to the suite's folder. */
  readonly file: string;
  readonly message: string;
}

/** By name: the file and the titles, joined. */
export type Results = Map<string, Result>;

export interface Parsed {
  readonly results: Results;
  /** False: the run stopped before its last line. */
  readonly ended: boolean;
  /** The process did not end by itself after its last test. */
  readonly lingers: boolean;
}

/** Lines of node-test-reporter.mjs and mocha-reporter.cjs. */
export function parseLines(text: string, folder: string): Parsed;

/** The output of `vitest run --reporter=json`. */
export function parseVitest(text: string, folder: string): Parsed;

/** Lost: passes plain and does not here, or fails here only. */
export function compare(
  plain: Results,
  here: Results,
): { readonly passed: number; readonly lost: string[] };

/** How many tests had this outcome, suites apart. */
export function count(results: Results, outcome: Result['outcome']): number;

/** `*` is within a folder, `**` and a slash any folders. */
export function glob(pattern: string): RegExp;
