/**
 * `--stats`, TRAPLESS_STATS=1: on exit, a table on standard error of where the calls went.
 *
 *   reportAtExit();
 *
 * A program that is interrupted (^C) or asked to end would print nothing: Node has no 'exit' then.
 * So these signals are listened to while, and only while, the program itself does not.
 */
import { writeSync } from 'node:fs';
import { isMainThread, threadId } from 'node:worker_threads';
import { commandLine } from './bundles.ts';
import { shared } from './shared.ts';

const ENDING: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

const writeNow = writeSync;
let printed = false;

export function reportAtExit(): void {
  process.on('exit', print);
  if (!isMainThread) return;
  for (const signal of ENDING) {
    process.on(signal, function onSignal() {
      if (process.listenerCount(signal) > 1) return; // the program knows what to do
      print();
      process.off(signal, onSignal);
      process.kill(process.pid, signal);
    });
  }
}

function print(): void {
  if (printed) return;
  printed = true;
  const thread = isMainThread ? 'main thread' : `worker thread ${threadId}`;
  const { kernel, tier } = shared();
  const inUse = tier?.();
  const text = commandLine().formatStatistics({
    title: `trapless: ${thread} of process ${process.pid}`,
    statistics: kernel?.statistics() ?? null,
    lacking: inUse === undefined || inUse.name === 'ring' ? '' : inUse.reason,
  });
  try {
    writeNow(2, `${text}\n`);
  } catch {
    // Standard error is closed or full: nobody reads it.
  }
}
