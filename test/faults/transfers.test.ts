/**
 * Transfers that do not go as asked: short ones, ones that would block, interrupted ones. A
 * program must see what it would see under Node: no error that is not its own, and no byte less.
 */
import { sameAsPlain } from './run.ts';

sameAsPlain('EAGAIN and short transfers', 'would-block.mjs');
sameAsPlain('readFile of a FIFO', 'fifo-read-file.mjs');
sameAsPlain('signals while a call blocks', 'interrupted.mjs');
sameAsPlain('a socket that is handed over while writes wait', 'handed-over.mjs');
