/**
 * A program that replaces Node's internal readdir (Node's own tests do) wants that one called.
 *
 *   rememberReaddir();  …  if (readdirIsReplaced()) …
 */
type Binding = { readdir?: unknown };
let binding: Binding | undefined;
let originalReaddir: unknown;

/** Remembers Node's internal readdir, where looking at it costs no warning. */
export function rememberReaddir(): void {
  const { execArgv, env } = process;
  if ([...execArgv, env.NODE_OPTIONS ?? ''].some((flag) => flag.includes('pending-deprecation')))
    return;
  if (env.NODE_PENDING_DEPRECATION === '1' || !execArgv.includes('--expose-internals')) return;
  binding = (process as unknown as { binding(name: string): Binding }).binding('fs');
  originalReaddir = binding.readdir;
}

export function readdirIsReplaced(): boolean {
  return binding !== undefined && binding.readdir !== originalReaddir;
}
