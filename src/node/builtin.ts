/**
 * Node's own modules as the objects they are, for changing what is on them. (`import fs from` would
 * do as well, but the bundler makes it a copy of every property, on the path of every start.)
 *
 *   builtin('node:fs').stat = ours;
 */
interface Modules {
  'node:fs': typeof import('node:fs');
  'node:module': typeof import('node:module');
  'node:worker_threads': typeof import('node:worker_threads');
}

export function builtin<Name extends keyof Modules>(name: Name): Modules[Name] {
  // In the bundles there is `require`; in the sources, run as ES modules, there is not.
  if (typeof require === 'function') return require(name);
  return process.getBuiltinModule(name) as Modules[Name];
}
