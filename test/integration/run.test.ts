/**
 * Does `trapless run app.js` behave as `node app.js`, in all that a program or its caller can
 * see? Each program here runs both ways, and what comes out is compared. A failure means that
 * some program will notice that it is run by trapless.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  cleanEnvironment,
  execute,
  type Result,
  registerMjs,
  scratch,
  underImport,
  underRequire,
  underRun,
} from '../support/execute.ts';

/** Both runs of a program, with what cannot be equal made equal: process ids. */
async function both(
  args: readonly string[],
  options: Parameters<typeof execute>[1] = {},
): Promise<{ plain: Result; trapless: Result }> {
  const [plain, trapless] = await Promise.all([
    execute(args, options),
    execute(underRun(...args), options),
  ]);
  const mask = (result: Result): Result => ({
    ...result,
    stderr: result.stderr.replace(/\(node:\d+\)/g, '(node:PID)'),
  });
  return { plain: mask(plain), trapless: mask(trapless) };
}

async function same(args: readonly string[], options: Parameters<typeof execute>[1] = {}) {
  const { plain, trapless } = await both(args, options);
  assert.deepEqual(trapless, plain);
  return plain;
}

const LOOK = `
  const seen = {
    argv: process.argv.slice(1), argv0: process.argv0, execArgv: process.execArgv,
    title: process.title, main: require.main === module, mainModule: process.mainModule === module,
    id: module.id, parent: module.parent, children: module.children.length, paths: module.paths,
    filename: __filename, cwd: process.cwd(), first: module.path,
    globals: Object.keys(globalThis), enumerable: Object.keys(process).sort(),
    listeners: process.eventNames().map(String), resources: process.getActiveResourcesInfo(),
    cache: Object.keys(require.cache).filter((key) => !key.includes('/dist/')),
  };
  require('fs').writeSync(1, JSON.stringify(seen, null, 1));
`;
const LOOK_ESM = `
  import { writeSync } from 'node:fs';
  writeSync(1, JSON.stringify({
    argv: process.argv.slice(1), execArgv: process.execArgv, url: import.meta.url,
    main: import.meta.main, mainModule: process.mainModule, has: 'mainModule' in process,
    globals: Object.keys(globalThis), keys: Object.keys(process).sort(),
  }, null, 1));
`;

const folder = scratch(
  'look.cjs',
  LOOK,
  'look.js',
  LOOK,
  'without-extension',
  LOOK,
  'directory/index.js',
  LOOK,
  'package/package.json',
  '{"main":"lib/start.js"}',
  'package/lib/start.js',
  LOOK,
  'look.mjs',
  LOOK_ESM,
  'esm/package.json',
  '{"type":"module"}',
  'esm/look.js',
  LOOK_ESM,
);
symlinkSync(join(folder, 'look.cjs'), join(folder, 'link.cjs'));

const at = (name: string): string => join(folder, name);

for (const name of [
  'look.cjs',
  'look.js',
  'look',
  'without-extension',
  'directory',
  'package',
  'link.cjs',
  'look.mjs',
  'esm/look.js',
])
  test(`a program sees itself as under node: ${name}`, async () => {
    const { stdout, code } = await same([at(name), 'one', '--two', '-3', '']);
    assert.equal(code, 0);
    assert.match(stdout, /"--two"/);
  });

test('a relative path, from another working directory', async () => {
  await same(['./look.cjs'], { cwd: folder });
  await same(['esm/look.js'], { cwd: folder });
  await same(['../look.cjs'], { cwd: join(folder, 'esm') });
});

test('a path with spaces, percent signs and more', async () => {
  const odd = scratch('a b%20ü#?.cjs', LOOK, 'a b%20ü#?.mjs', LOOK_ESM);
  await same([join(odd, 'a b%20ü#?.cjs')]);
  await same([join(odd, 'a b%20ü#?.mjs')]);
});

const ENDINGS: Readonly<Record<string, string>> = {
  'throw.cjs': 'function inner() {\n  throw new TypeError("no good");\n}\ninner();\n',
  'throw-deep.cjs':
    'const f = (n) => { if (n === 0) throw new Error("deep"); f(n - 1); };\nf(30);\n',
  'throw-required.cjs': 'require("./throw.cjs");\n',
  'throw-cause.cjs': 'throw new Error("outer", { cause: new RangeError("inner") });\n',
  'throw-string.cjs': 'throw "a string";\n',
  'throw-null.cjs': 'throw null;\n',
  'throw-object.cjs': 'throw { code: 7 };\n',
  'throw-async.cjs': 'async function main() { throw new Error("at once"); }\nmain();\n',
  'throw-later.cjs': 'setTimeout(() => { throw new Error("later"); }, 5);\n',
  'throw-tick.cjs': 'process.nextTick(() => { throw new Error("tick"); });\n',
  'throw-handled.cjs':
    'process.on("uncaughtException", (e, origin) => console.log(e.message, origin));\nthrow new Error("x");\n',
  'throw.mjs': 'export const x = 1;\nthrow new Error("in a module");\n',
  'throw-await.mjs': 'await 1;\nthrow new Error("after await");\n',
  'import-missing.mjs': 'import "./not-there.mjs";\n',
  'require-missing.cjs': 'require("./not-there.cjs");\n',
  'syntax.cjs': 'let x = ;\n',
  'syntax.mjs': 'let x = ;\n',
  'rejection.cjs': 'Promise.reject(new Error("rejected"));\n',
  'rejection-value.cjs': 'Promise.reject(12);\n',
  'never.mjs': 'await new Promise(() => {});\n',
  'exit.cjs': 'process.on("exit", (c) => console.log("exit", c)); process.exit(7);\n',
  'exit-code.cjs': 'process.exitCode = 5; process.on("beforeExit", () => console.log("before"));\n',
  'warning.cjs': 'process.emitWarning("careful");\nnew Buffer(1);\n',
  'sigterm.cjs': 'process.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 10_000);\n',
  'sigterm-handled.cjs':
    'process.on("SIGTERM", () => { console.log("bye"); process.exit(3); });\nprocess.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 10_000);\n',
  'abort.cjs': 'process.kill(process.pid, "SIGABRT"); setTimeout(() => {}, 10_000);\n',
  'order.cjs':
    'setTimeout(() => console.log("timer"));\nsetImmediate(() => console.log("immediate"));\nPromise.resolve().then(() => console.log("promise"));\nprocess.nextTick(() => console.log("tick"));\nconsole.log("main", require("async_hooks").executionAsyncId());\n',
  'order.mjs':
    'Promise.resolve().then(() => console.log("promise"));\nprocess.nextTick(() => console.log("tick"));\nconsole.log("main");\n',
};
const endings = scratch(...Object.entries(ENDINGS).flat());

for (const name of Object.keys(ENDINGS))
  test(`it ends as under node: ${name}`, async () => {
    await same([join(endings, name)]);
  });

test('a program that is not there', async () => {
  for (const name of ['not-there.js', 'not-there.mjs', 'not-there', 'directory/nothing/at/all'])
    assert.equal((await same([at(name)])).code, 1);
});

test('standard input and output are passed through', async () => {
  const app = scratch(
    'echo.cjs',
    'process.stdin.pipe(process.stdout); process.stdin.on("end", () => console.error("end"));',
  );
  const { stdout } = await same([join(app, 'echo.cjs')], { input: 'x'.repeat(300_000) });
  assert.equal(stdout.length, 300_000);
});

test('a signal reaches the program, and its end the caller', async () => {
  const app = scratch(
    'wait.cjs',
    'setInterval(() => {}, 1000); require("fs").stat("/", () => console.log("ready"));',
  );
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
    const child = spawn(process.execPath, underRun(join(app, 'wait.cjs')), {
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill(signal);
    const ended = await new Promise((resolve) =>
      child.on('exit', (_code, signal) => resolve(signal)),
    );
    assert.equal(ended, signal);
  }
});

test('NODE_OPTIONS hold as under node', async () => {
  const app = scratch(
    'app.cjs',
    'console.log(globalThis.preloaded, new Error("x").stack.split("\\n").length > 3, process.execArgv);',
    'preload.cjs',
    'globalThis.preloaded = "cjs";',
    'preload.mjs',
    'globalThis.preloaded = "esm";',
    'app.mjs',
    'console.log(globalThis.preloaded);',
  );
  for (const options of [
    `--require ${join(app, 'preload.cjs')}`,
    `--import ${join(app, 'preload.mjs')}`,
    '--stack-trace-limit=2 --no-warnings',
  ])
    for (const name of ['app.cjs', 'app.mjs'])
      await same([join(app, name)], { env: { NODE_OPTIONS: options } });
});

/* --- What is different: the calls, and trapless's own options ------------------------------- */

const STATE = `
  const { isMainThread } = require('worker_threads');
  const state = () => process[Symbol.for('trapless')];
  const report = (where) => require('fs').stat('/', () =>
    console.log(where, state()?.registered === true, state()?.kernel?.ring != null,
      JSON.stringify(process.execArgv)));
`;
const states = scratch(
  'state.cjs',
  `${STATE} report('main');`,
  'workers.cjs',
  `${STATE}
   const { Worker, threadId } = require('worker_threads');
   if (isMainThread) {
     (async () => {
       const run = (...args) => new Promise((resolve, reject) => {
         const worker = new Worker(...args);
         worker.on('error', reject).on('exit', resolve);
         if (!(worker instanceof Worker) || worker.constructor !== Worker) console.log('not a Worker');
       });
       await run(__filename);
       await run(__filename, { execArgv: ['--no-warnings'] });
       await run('require(' + JSON.stringify(__filename) + ')', { eval: true });
       await run(new URL('data:text/javascript,import ' + JSON.stringify('file://' + __filename)));
       class Mine extends Worker {}
       const mine = new Mine(__filename);
       console.log(mine instanceof Mine, mine instanceof Worker, Worker.name, Worker.length);
       mine.on('exit', () => {
         try { new Worker('relative.js'); } catch (e) { console.log(e.code); }
         try { new Worker(__filename, { execArgv: 'x' }); } catch (e) { console.log(e.code); }
         try { new Worker(__filename, { execArgv: ['--expose-gc'] }); } catch (e) { console.log(e.code, e.message); }
       });
     })();
   } else report('worker');`,
  'forks.cjs',
  `${STATE}
   const { fork } = require('child_process');
   if (process.argv[2] === 'child') report('child');
   else if (process.argv[2] === 'nested') {
     fork(__filename, ['child']);
   } else {
     const done = (child, next) => child.on('exit', (code) => { if (code) console.log('died'); next?.(); });
     done(fork(__filename, ['child']), () =>
       done(fork(__filename, ['child', 1], { execArgv: ['--no-warnings'] }), () =>
         done(fork(__filename, ['nested']))));
   }`,
  'cluster.cjs',
  `${STATE}
   const cluster = require('cluster');
   if (cluster.isPrimary) cluster.fork();
   else { report('cluster'); setTimeout(() => process.exit(), 200); }`,
);

async function reports(name: string, options: string[] = [], env: NodeJS.ProcessEnv = {}) {
  const { stdout, stderr, code } = await execute(underRun(...options, join(states, name)), { env });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  return stdout.trim().split('\n');
}

test('calls go through syscall pages; TRAPLESS=0 switches all off', async () => {
  assert.deepEqual(await reports('state.cjs', ['--ring']), ['main true true []']);
  assert.deepEqual(await reports('state.cjs', ['--no-ring']), ['main true false []']);
  assert.deepEqual(await reports('state.cjs', [], { TRAPLESS_RING: '0' }), ['main true false []']);
  assert.deepEqual(await reports('state.cjs', ['--sqpoll', '0', '--cores=0']), [
    'main true true []',
  ]);
  const off = await execute(underRun(join(states, 'state.cjs')), { env: { TRAPLESS: '0' } });
  assert.equal(off.stdout, 'main false false []\n');
});

test('workers are accelerated, and look like workers', async () => {
  assert.deepEqual(await reports('workers.cjs', ['--ring']), [
    'worker true true []',
    'worker true true ["--no-warnings"]',
    'worker true true []',
    'worker true true []',
    'true true Worker 1',
    'worker true true []',
    'ERR_WORKER_PATH',
    'ERR_INVALID_ARG_TYPE',
    'ERR_WORKER_INVALID_EXEC_ARGV Initiated Worker with invalid execArgv flags: --expose-gc',
  ]);
});

test('workers of a node with options of its own', async () => {
  const { stdout, stderr } = await execute(
    ['--expose-gc', '--no-warnings', ...underRun('--ring', join(states, 'workers.cjs'))],
    {},
  );
  assert.equal(stderr, '');
  assert.match(stdout, /^worker true true \["--no-warnings"\]$/m);
});

test('forked children and cluster workers are accelerated, too', async () => {
  assert.deepEqual(await reports('forks.cjs', ['--ring']), [
    'child true true []',
    'child true true ["--no-warnings"]',
    'child true true []',
  ]);
  assert.deepEqual(await reports('cluster.cjs', ['--no-ring']), ['cluster true false []']);
});

test('a child gets what its parent sends at once', async () => {
  const app = scratch(
    'app.cjs',
    `const cluster = require('cluster');
     const { fork } = require('child_process');
     const { isPrimary } = cluster;
     if (isPrimary && !process.argv[2]) {
       const child = fork(__filename, ['child']);
       child.send('sent');
       child.on('exit', () => {
         cluster.fork().on('online', function () { this.send('sent'); });
       });
     } else {
       console.log(process.execArgv.length, process[Symbol.for('trapless')].registered);
       for (const [name, value] of Object.entries(process.env))
         if (name.includes('NODE_OPTIONS')) console.log(name, value);
       process.on('message', (message) => {
         console.log(isPrimary ? 'child' : 'worker', message);
         process.disconnect();
       });
     }`,
  );
  const file = join(app, 'app.cjs');
  const ways = [
    underRun(file),
    underImport(file),
    [`--import=${registerMjs}`, file],
    underRequire(file),
  ];
  for (const way of ways) {
    const { stdout } = await execute(way);
    assert.equal(stdout, '0 true\nchild sent\n0 true\nworker sent\n', way.join(' '));
  }
  for (const option of [`--import ${registerMjs}`, `--import="${registerMjs}"`]) {
    const options = `--no-warnings ${option} --trace-uncaught`;
    const { stdout } = await execute([file], { env: { NODE_OPTIONS: options } });
    const seen = `0 true\nNODE_OPTIONS ${options}\n`;
    assert.equal(stdout, `${seen}child sent\n${seen}worker sent\n`);
  }
});

test('children are spared what was not meant for them', async () => {
  const app = scratch(
    'app.cjs',
    `const { spawnSync, fork } = require('child_process');
     console.log(spawnSync(process.execPath, ['-p', 'typeof process[Symbol.for("trapless")]']).stdout.toString().trim());
     const child = fork('./child.cjs', { cwd: __dirname, execPath: process.execPath, silent: true });
     child.stdout.pipe(process.stdout);
     console.log(child.spawnargs.includes('./child.cjs'));`,
    'child.cjs',
    'console.log(process.argv.length, process.execArgv.length, typeof process.send);',
  );
  const { stdout } = await execute(underRun(join(app, 'app.cjs')));
  assert.equal(stdout, 'undefined\ntrue\n2 0 function\n');
});

test('--stats prints where the calls went, on standard error only', async () => {
  const app = scratch(
    'app.cjs',
    `const fs = require('fs');
     (async () => {
       for (let i = 0; i < 10; i++) await fs.promises.stat('/');
       console.log('done');
       if (process.argv[2]) process.kill(process.pid, process.argv[2]);
     })();`,
    'none.cjs',
    '',
  );
  const plain = await execute(underRun('--stats', join(app, 'app.cjs')));
  assert.equal(plain.stdout, 'done\n');
  assert.match(plain.stderr, /^trapless: main thread of process \d+/);
  assert.match(plain.stderr, /^ {2}statx +10 +10 +0 +0$/m);
  assert.match(
    plain.stderr,
    /^ {2}kernel entries of this thread: 10 or more .*: 1\.00 calls each$/m,
  );
  assert.match(plain.stderr, /p50 [\d.]+, p90 [\d.]+, p99 [\d.]+, max [\d.]+$/m);
  const ended = await execute(underRun('--stats', join(app, 'app.cjs'), 'SIGTERM'));
  assert.equal(ended.signal, 'SIGTERM');
  assert.match(ended.stderr, /^ {2}statx +10/m);
  const none = await execute(underRun('--stats', join(app, 'none.cjs')));
  assert.match(none.stderr, /made no accelerated call/);
  const inherited = await execute(underRun(join(app, 'app.cjs')), {
    env: { TRAPLESS_STATS: '1', TRAPLESS_RING: '0' },
  });
  assert.match(inherited.stderr, /no ring: TRAPLESS_RING=0/);
});

test('options end where the program begins', async () => {
  const app = scratch('--stats.cjs', 'console.log(process.argv.slice(2).join());');
  const { stdout, stderr } = await execute(
    underRun('--no-ring', '--', './--stats.cjs', '--ring', '--stats'),
    { cwd: app },
  );
  assert.equal(stdout, '--ring,--stats\n');
  assert.equal(stderr, '');
});

test('mistakes are told with what to do, and exit code 2', async () => {
  const mistakes: readonly (readonly [string[], RegExp])[] = [
    [[], /which program\? `trapless run app\.js`/],
    [['-'], /give it a file/],
    [['--no-rnig', 'x.js'], /there is no option --no-rnig; did you mean --no-ring\?/],
    [['--inspect', 'x.js'], /an option of node: NODE_OPTIONS=--inspect trapless run/],
    [['--sqpoll'], /--sqpoll needs a value/],
    [['--sqpoll', 'one', 'x.js'], /--sqpoll must be an integer/],
    [['--cores', '1-', 'x.js'], /a list of cores looks like 1,2-3/],
    [['--cores=4000', 'x.js'], /there is no core 4000; online: 0/],
    [['--order', 'any', 'x.js'], /order must be one of as-found, grouped, io-first/],
    [['--stats=1', 'x.js'], /--stats takes no value/],
  ];
  for (const [args, message] of mistakes) {
    const { code, stdout, stderr } = await execute(underRun(...args));
    assert.equal(code, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, message);
    assert.match(stderr, /`trapless run --help` shows what there is\./);
    assert.doesNotMatch(stderr, /^ {4}at /m);
  }
  const help = await execute(underRun('--help'));
  assert.equal(help.code, 0);
  assert.match(help.stdout, /--sqpoll CORE/);
  const env = await execute(underRun('x.js'), { env: { TRAPLESS_ORDER: 'any' } });
  assert.equal(env.code, 2);
  assert.match(env.stderr, /order must be one of/);
});
