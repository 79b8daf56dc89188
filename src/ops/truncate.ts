/**
 * truncate of a path, as Node does it: open for reading and writing, ftruncate, close; one chain.
 */
import { FLAG } from '../abi/entry.ts';
import { O_RDWR } from '../abi/structs.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { type Fail, number, type Path, pathText, type Resolve, settleError } from './call.ts';
import { claimChain, fillClose, following } from './chain.ts';
import { systemError } from './error.ts';
import { fillOpen } from './open.ts';

class Truncate implements Completion {
  readonly mayBlock = true;
  readonly #path: Path;
  readonly #resolve: Resolve<undefined>;
  readonly #fail: Fail | undefined;

  constructor(path: Path, resolve: Resolve<undefined>, fail: Fail | undefined) {
    this.#path = path;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  done(kernel: Kernel, head: number): void {
    const { pages } = kernel;
    const fd = pages.result(head);
    const cutting = following(kernel, head);
    const result = pages.result(cutting);
    const closed = pages.result(following(kernel, cutting));
    pages.free(head);
    if (fd >= 0 && result >= 0 && closed >= 0) {
      this.#resolve(undefined);
      return;
    }
    const error =
      fd < 0
        ? systemError(fd, 'open', pathText(this.#path))
        : systemError(result < 0 ? result : closed, result < 0 ? 'ftruncate' : 'close');
    settleError(error, this.#resolve, this.#fail);
  }
}

export function truncate(
  kernel: Kernel,
  path: Path,
  length: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const head = claimChain(kernel, 3);
  if (head === -1) return kernel.whenRoom(() => truncate(kernel, path, length, resolve, fail));
  fillOpen(kernel, head, path, O_RDWR, 0o666, FLAG.link);
  const second = following(kernel, head);
  kernel.pages.call(second, number('ftruncate'), 2, FLAG.link | FLAG.headFd);
  kernel.pages.setNumber(second, 1, length);
  fillClose(kernel, following(kernel, second), 0);
  kernel.post(head, new Truncate(path, resolve, fail));
}
