/**
 * Paths at the edges: names that are not text, paths that are too long, a working directory that
 * is gone. Every result and error must be Node's own.
 */
import { sameAsPlain } from './run.ts';

sameAsPlain('names that are not UTF-8', 'names.mjs');
sameAsPlain('a deleted working directory', 'deleted-directory.mjs');
sameAsPlain('paths and names at their limits', 'long-paths.mjs');
