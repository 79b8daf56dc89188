/**
 * What a vCPU's thread runs (workloads/worker-entry.ts), as `new Worker` takes it.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../../report/package-root.ts';

/** The bundle, or in a checkout's tests the sources, by way of a line that has tsx load them. */
export function vcpuProgram(): { program: string; isText: boolean } {
  const root = packageRoot();
  const built = join(root, 'dist', 'lab-worker.cjs');
  if (typeof __dirname === 'string' && existsSync(built)) return { program: built, isText: false };
  const source = pathToFileURL(join(root, 'src', 'lab', 'workloads', 'worker-entry.ts')).href;
  const api = pathToFileURL(join(root, 'node_modules', 'tsx', 'dist', 'esm', 'api', 'index.mjs'));
  const program = `import('${api}').then((tsx) => tsx.register()).then(() => import('${source}'));`;
  return { program, isText: true };
}
