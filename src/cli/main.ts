export { formatStatistics } from '../report/call-statistics.ts';
export const runHelp = '';
export function unknownRunOption(a: string, b: readonly string[]): string { return a + b.length; }
export function main(argv: readonly string[]): void { console.log(argv); }
