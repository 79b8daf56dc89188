/**
 * Properties that can be run again: seeds, number of runs, and how to replay a failure.
 *
 *   await holds('sim equals node:fs', 60, fc.asyncProperty(…));
 *
 * The seed is the same in every run, so that a commit that fails has done it. To explore, give another
 * PROPERTY_SEED, and more runs (PROPERTY_RUNS multiplies their number). PROPERTY_SEED and
 * PROPERTY_PATH, both in the message of a failure, replay it.
 */
import fc from 'fast-check';

const SEED = 20101004;

const { PROPERTY_RUNS, PROPERTY_SEED, PROPERTY_PATH } = process.env;

/** Runs a property `runs` times; a failure says how to have it again. */
export async function holds<T>(
  name: string,
  runs: number,
  property: fc.IAsyncProperty<T>,
  file: string,
): Promise<void> {
  const result = await fc.check(property, {
    seed: PROPERTY_SEED ? Number(PROPERTY_SEED) : SEED,
    path: PROPERTY_PATH,
    numRuns: runs * Number(PROPERTY_RUNS ?? 1),
    endOnFailure: PROPERTY_PATH !== undefined,
  });
  if (!result.failed) return;
  const { seed, counterexamplePath, counterexample, errorInstance, numRuns, numShrinks } = result;
  const reason = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  throw new Error(
    `${name}: failed after ${numRuns} runs and ${numShrinks} shrinks\n` +
      `replay: PROPERTY_SEED=${seed} PROPERTY_PATH=${counterexamplePath} ` +
      `node --import tsx --test --test-name-pattern '${name}' ${file}\n` +
      `program: ${fc.stringify(counterexample)}\n${reason}`,
    { cause: errorInstance },
  );
}
