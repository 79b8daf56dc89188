/**
 * What a command prints when it cannot do its work: one message, no stack, and the exit code.
 *
 *   return explainFailure('bench fs', () => suite.run(argv));
 */

import { UsageError } from '../report/usage.ts';

/** Runs `work`; 2 if the command line was wrong, 1 if the work failed. */
export async function explainFailure(
  command: string,
  work: () => Promise<number>,
): Promise<number> {
  try {
    return await work();
  } catch (error) {
    const { message, code, stack } = error as NodeJS.ErrnoException;
    const usage = error instanceof UsageError || code?.startsWith('ERR_PARSE_ARGS_');
    console.error(`trapless ${command}: ${message}`);
    if (usage) console.error(`\`trapless ${command} --help\` shows what there is.`);
    else if (process.env.TRAPLESS_DEBUG) console.error(stack);
    return usage ? 2 : 1;
  }
}
