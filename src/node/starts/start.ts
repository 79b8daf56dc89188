/**
 * A start looks at a program's arguments and, if they are of the ordinary kind, starts the
 * operation. False: not ours, let Node's own function have them. Callback and promise forms share
 * the starts; only how they settle differs.
 *
 *   export const unlink: Start = onPath(paths.unlink);
 */
import type { Kernel } from '../../kernel/kernel.ts';
import type { Fail, Path, Resolve } from '../../ops/call.ts';
import { bothFit } from '../../ops/paths.ts';
import { acceptDescriptor, acceptPath } from '../accept.ts';

export type Arguments = readonly unknown[];
/** What a start resolves to: each with its own type, callback and promise forms take any. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export type Settle = Resolve<any>;
/** Without `fail` a promise is behind `resolve`; with it, a callback. */
export type Start = (kernel: Kernel, args: Arguments, resolve: Settle, fail?: Fail) => boolean;

type Plain = Resolve<undefined>;

export function onPath(
  start: (kernel: Kernel, path: Path, resolve: Plain, fail?: Fail) => void,
): Start {
  return (kernel, [path], resolve, fail) => {
    const accepted = acceptPath(path);
    if (accepted === undefined) return false;
    start(kernel, accepted, resolve, fail);
    return true;
  };
}

export function onTwoPaths(
  start: (kernel: Kernel, first: Path, second: Path, resolve: Plain, fail?: Fail) => void,
): Start {
  return (kernel, [first, second], resolve, fail) => {
    const a = acceptPath(first);
    const b = acceptPath(second);
    if (a === undefined || b === undefined || !bothFit(a, b)) return false;
    start(kernel, a, b, resolve, fail);
    return true;
  };
}

export function onDescriptor(
  start: (kernel: Kernel, fd: number, resolve: Plain, fail?: Fail) => void,
): Start {
  return (kernel, [fd], resolve, fail) => {
    const accepted = acceptDescriptor(fd);
    if (accepted === undefined) return false;
    start(kernel, accepted, resolve, fail);
    return true;
  };
}
