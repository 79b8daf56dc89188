// The projects whose test suites are run, and how each of them runs its own.
//
// Versions are those of docs/COMPATIBILITY.md; a checkout of another one is run just the same.

/**
 * @typedef {object} Suite
 * @property {string} name
 * @property {string} package on the registry
 * @property {string} version
 * @property {string} repository
 * @property {string} tag of that version
 * @property {boolean} [packed] the package ships its tests
 * @property {'node:test' | 'mocha' | 'vitest'} runner
 * @property {string[]} files globs: what the project's own `npm test` runs
 * @property {string[]} [always] files of mocha that go with any other: hooks for all tests
 * @property {string[]} [args] of the runner
 * @property {Record<string, string>} [env]
 * @property {string[][]} [before] run by node in the checkout, once: test data
 * @property {boolean} [redis] needs a Redis server
 * @property {string} [leftOut] what of `npm test` is not run, and why
 */

/** @type {Suite[]} */
export const suites = [
  {
    name: 'express',
    package: 'express',
    version: '5.2.1',
    repository: 'https://github.com/expressjs/express',
    tag: 'v5.2.1',
    runner: 'mocha',
    files: ['test/*.js', 'test/acceptance/*.js'],
    args: ['--require', 'test/support/env', '--check-leaks'],
  },
  {
    name: 'koa',
    package: 'koa',
    version: '3.2.0',
    repository: 'https://github.com/koajs/koa',
    tag: 'v3.2.0',
    runner: 'node:test',
    files: ['__tests__/**/*.test.js'],
    leftOut: 'its ES module wrapper, which only a build makes',
  },
  {
    name: 'ws',
    package: 'ws',
    version: '8.21.0',
    repository: 'https://github.com/websockets/ws',
    tag: '8.21.0',
    runner: 'mocha',
    files: ['test/*.test.js'],
    args: ['--throw-deprecation'],
  },
  {
    name: 'fastify',
    package: 'fastify',
    version: '5.12.1',
    repository: 'https://github.com/fastify/fastify',
    tag: 'v5.12.1',
    packed: true,
    runner: 'node:test',
    files: ['test/**/*.test.js', 'test/**/*.test.mjs'],
    leftOut: 'types',
  },
  {
    name: 'undici',
    package: 'undici',
    version: '7.29.0',
    repository: 'https://github.com/nodejs/undici',
    tag: 'v7.29.0',
    runner: 'node:test',
    files: [
      'test/*.js',
      'test/busboy/*.js',
      'test/cache/*.js',
      'test/cache-interceptor/*.js',
      'test/cookie/*.js',
      'test/eventsource/*.js',
      'test/fetch/*.js',
      'test/infra/*.js',
      'test/interceptors/*.js',
      'test/node-fetch/**/*.js',
      'test/node-test/**/*.js',
      'test/subresource-integrity/*.js',
      'test/webidl/*.js',
      'test/websocket/**/*.js',
    ],
    args: ['--expose-gc'],
    before: [['scripts/generate-pem.js']],
    leftOut: 'web platform tests (a git submodule), jest, types, what needs its bundle',
  },
  {
    name: 'hono',
    package: '@hono/node-server',
    version: '2.0.11',
    repository: 'https://github.com/honojs/node-server',
    tag: 'v2.0.11',
    runner: 'vitest',
    files: ['test/**/*.test.ts'],
  },
  {
    name: 'ioredis',
    package: 'ioredis',
    version: '5.11.1',
    repository: 'https://github.com/redis/ioredis',
    tag: 'v5.11.1',
    runner: 'mocha',
    files: ['test/unit/**/*.ts', 'test/functional/**/*.ts'],
    always: ['test/helpers/*.ts'],
    env: { TS_NODE_TRANSPILE_ONLY: 'true', NODE_ENV: 'test' },
    redis: true,
    leftOut: 'test/cluster and test/scenario, which need clusters in containers; types',
  },
];
