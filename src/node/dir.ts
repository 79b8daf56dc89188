/**
 * fs.Dir is Node's own; what is ours is the native half under it: an open directory that is read
 * through syscall pages.
 *
 *   if (canMakeDirs()) … makeDir(fd, path, options)
 *
 * Node's Dir takes any object with read() and close(), each in two forms: with a request, whose
 * oncomplete is called later, or without, at once. Whether the running Node's does is tried, once.
 */
import { AsyncResource } from 'node:async_hooks';
import fs from 'node:fs';
import { DT_UNKNOWN } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Path } from '../ops/call.ts';
import { close } from '../ops/descriptor.ts';
import { type Entries, readEntries, readEntriesNow } from '../ops/directory.ts';
import { encodeName, type NameEncoding } from './accept-options.ts';
import { uvType } from './dirents.ts';
import { threadKernel } from './environment-kernel.ts';
import { type Callback, callBack } from './forms.ts';
import { closeOwn } from './unmanaged.ts';

interface NodeRequest {
  oncomplete(error: Error | null, result?: unknown): void;
}
type DirClass = new (handle: object, path: unknown, options: unknown) => fs.Dir;
const Dir = fs.Dir as unknown as DirClass;

/** As fs.Dir wants it: name, type, name, type …; null at the end. */
type Result = (string | Buffer | number)[] | null;

function resultOf(entries: Entries | null, encoding: NameEncoding): Result {
  if (entries === null) return null;
  const result: (string | Buffer | number)[] = [];
  for (const [i, name] of entries.names.entries())
    result.push(encodeName(name, encoding), uvType(entries.types[i] ?? DT_UNKNOWN));
  return result;
}

class DirectoryHandle {
  readonly #fd: number;
  readonly #kernel: Kernel;

  constructor(fd: number, kernel: Kernel) {
    this.#fd = fd;
    this.#kernel = kernel;
    forgotten.register(this, fd, this);
  }

  /** `bufferSize` bounds what Node reads at a time; we hand out what one system call returned. */
  read(encoding: NameEncoding, _bufferSize: number, request?: NodeRequest): Result | undefined {
    if (request === undefined) return resultOf(this.#readNow(), encoding);
    const { succeed, fail } = answering(request);
    const resolve = (entries: Entries | null | PromiseLike<Entries | null>) =>
      entries !== null && 'names' in entries && entries.names.length === 0
        ? readEntries(this.#kernel, this.#fd, resolve, fail) // "." and ".." alone
        : succeed(resultOf(entries as Entries | null, encoding));
    readEntries(this.#kernel, this.#fd, resolve, fail);
    return undefined;
  }

  #readNow(): Entries | null {
    for (;;) {
      const entries = readEntriesNow(this.#kernel, this.#fd);
      if (entries === null || entries.names.length > 0) return entries;
    }
  }

  close(request?: NodeRequest): void {
    forgotten.unregister(this);
    if (request === undefined) return closeOwn(this.#kernel, this.#fd);
    const { succeed, fail } = answering(request);
    close(this.#kernel, this.#fd, () => succeed(), fail);
  }
}

/** Calls a request of Node's back as Node would. */
function answering(request: NodeRequest) {
  const resource = new AsyncResource('FSREQCALLBACK');
  return {
    succeed: (...result: unknown[]): void =>
      callBack(resource, request.oncomplete as Callback, request, null, ...result),
    fail: (error: Error): void =>
      callBack(resource, request.oncomplete as Callback, request, error),
  };
}

/** Directories that are collected open are closed, with Node's warning. */
const forgotten = new FinalizationRegistry<number>((fd) => {
  closeOwn(threadKernel() as Kernel, fd);
  process.emitWarning('Closing directory handle on garbage collection');
});

let possible: boolean | undefined;

/** Whether fs.Dir of this Node works with a handle like ours. */
export function canMakeDirs(): boolean {
  possible ??= tryDir();
  return possible;
}

function tryDir(): boolean {
  const seen: unknown[] = [];
  const note = (...args: unknown[]) => {
    seen.push(...args);
  };
  try {
    new Dir({ read: note, close: note }, '/', { encoding: 'utf8', bufferSize: 7 }).read(() => {});
  } catch {
    return false;
  }
  const [encoding, bufferSize, request] = seen as [unknown, unknown, NodeRequest?];
  return encoding === 'utf8' && bufferSize === 7 && typeof request?.oncomplete === 'function';
}

export function makeDir(fd: number, path: Path, options: unknown): fs.Dir {
  return new Dir(new DirectoryHandle(fd, threadKernel() as Kernel), path, options);
}
