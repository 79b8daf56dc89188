/**
 * Does a program that was given trapless/register live and die as it would without: its loop, its
 * errors, its end, its workers, and its idle hours? And does it run, unaccelerated, where trapless
 * cannot work? A failure means that trapless is not transparent.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import {
  type ExecuteOptions,
  execute,
  registerCjs,
  registerMjs,
  root,
  scratch,
  underImport,
  underRequire,
  underRun,
} from '../support/execute.ts';

/** A program's text, run under --import with the ring and with the crew alone: same output. */
async function onBoth(text: string, options: ExecuteOptions = {}, extension = 'cjs') {
  const outputs: string[] = [];
  for (const ring of ['', '0']) {
    const file = join(scratch(`app.${extension}`, text), `app.${extension}`);
    const env = { TRAPLESS_RING: ring, ...options.env };
    const { stdout, stderr, code } = await execute(underImport(file), { ...options, env });
    outputs.push(`${stdout}${stderr}${code}`);
  }
  assert.equal(outputs[1], outputs[0], 'ring and crew differ');
  return outputs[0];
}

const REGISTERED = `const shared = () => process[Symbol.for('trapless')];\n`;

test('every way to register', async () => {
  const folder = scratch(
    'app.cjs',
    `${REGISTERED}console.log(shared()?.registered === true, JSON.stringify(process.execArgv));`,
    'own.cjs',
    `const { stat } = require('fs');
     require(${JSON.stringify(registerCjs)});
     require(${JSON.stringify(registerCjs)});
     ${REGISTERED}
     console.log(shared()?.registered === true, stat === require('fs').stat);`,
    'own.mjs',
    `import fs, { stat } from 'node:fs';
     import { readFile } from 'node:fs/promises';
     const before = stat;
     await import(${JSON.stringify(pathToFileURL(registerMjs).href)});
     console.log(before === stat, stat === fs.stat, readFile === fs.promises.readFile);`,
  );
  const app = join(folder, 'app.cjs');
  const out = async (args: string[], env = {}) => (await execute(args, { env })).stdout.trim();
  assert.equal(await out(underImport(app)), `true ${JSON.stringify(['--import', registerMjs])}`);
  // What a parent under trapless adds for its descendants is taken away again.
  assert.equal(await out(underRequire(app)), 'true []');
  assert.equal(await out([app], { NODE_OPTIONS: `--import=${registerMjs}` }), 'true []');
  assert.equal(await out([app], { NODE_OPTIONS: `--require ${registerCjs}` }), 'true []');
  assert.equal(await out([join(folder, 'own.cjs')]), 'true false');
  assert.equal(await out([join(folder, 'own.mjs')]), 'false true true');
  assert.equal(
    await out(underImport(app), { TRAPLESS: '0' }).then((o) => o.split(' ')[0]),
    'false',
  );
});

test('the package can be imported by its name', async () => {
  const { stdout } = await execute(['--import', 'trapless/register', '-p', '1 + 1'], { cwd: root });
  assert.equal(stdout, '2\n');
});

test('nothing is loaded before the first call, and no more than one kernel after', async () => {
  const output = await onBoth(`${REGISTERED}
    const fs = require('fs');
    const { readFileSync } = fs;
    const maps = () => readFileSync('/proc/self/maps', 'utf8').includes('trapless.node');
    const loaded = () => Object.keys(require.cache).some((key) => key.endsWith('dist/trapless.cjs'));
    console.log(shared().kernel, loaded(), maps());
    fs.stat('/', () => {
      const { kernel } = shared();
      console.log(loaded(), maps(), kernel !== null);
      fs.promises.readFile(__filename).then(() => console.log(kernel === shared().kernel));
    });`);
  assert.equal(output, 'null false false\ntrue true true\ntrue\n0');
});

test("V8's code cache of the runtime is used, unless it is of another one", async () => {
  const folder = scratch(
    'app.cjs',
    `require('fs').stat('/', () => {
       const file = Object.keys(require.cache).find((key) => key.endsWith('/dist/trapless.cjs'));
       const { index } = require(file);
       console.log(process[Symbol.for('trapless')].codeCache, index.tier().name);
     });`,
  );
  const app = join(folder, 'app.cjs');
  const cache = `trapless.${process.versions.v8}.${process.arch}.cache`;
  const built = existsSync(join(root, 'dist', cache));
  const seen = async (dist: string, ...options: string[]) =>
    (await execute([...options, '--require', join(dist, 'register.cjs'), app])).stdout.split(
      ' ',
    )[0];
  assert.equal(await seen(join(root, 'dist')), built ? 'used' : 'none');
  if (!built) return; // this is not the Node that built it
  const copy = join(folder, 'dist');
  cpSync(join(root, 'dist'), copy, { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  assert.equal(await seen(copy), 'used');
  const bundle = join(copy, 'trapless.cjs');
  writeFileSync(bundle, readFileSync(bundle, 'utf8').replace('"use strict"', '"use Strict"'));
  assert.equal(await seen(copy), 'none');
  cpSync(join(root, 'dist', 'trapless.cjs'), bundle);
  assert.match(await seen(copy, '--no-lazy'), /^(rejected|used)$/);
});

test('a program that replaces functions of fs before its first call does not see ours', async () => {
  const folder = scratch(
    'app.cjs',
    `const fs = require('fs');
     const seen = [];
     for (const name of ['open', 'openSync', 'fstatSync', 'readSync', 'close', 'closeSync']) {
       const original = fs[name];
       fs[name] = (...args) => (seen.push(name), original(...args));
     }
     fs.stat('/', () => console.log(\`seen: \${seen}\`));`,
  );
  // With V8's code cache, if this Node built one, and without.
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  for (const name of readdirSync(join(folder, 'dist')))
    if (name.endsWith('.cache')) rmSync(join(folder, 'dist', name));
  for (const dist of [join(root, 'dist'), join(folder, 'dist')]) {
    const options = ['--require', join(dist, 'register.cjs'), join(folder, 'app.cjs')];
    assert.equal((await execute(options)).stdout, 'seen: \n', dist);
  }
});

test('loading ES modules is no use of trapless', async () => {
  const folder = scratch(
    'app.mjs',
    `import './other.mjs';
     import { readFile } from 'node:fs/promises';
     const { kernel } = process[Symbol.for('trapless')];
     await readFile(new URL(import.meta.url));
     console.log(kernel, process[Symbol.for('trapless')].kernel !== null);`,
    'other.mjs',
    'export const x = 1;',
  );
  assert.equal((await execute(underRun(join(folder, 'app.mjs')))).stdout, 'null true\n');
});

test('functions look like the ones they replace', async () => {
  const text = `
    const fs = require('fs');
    const show = (value, name) => {
      const d = Object.getOwnPropertyDescriptor(value, name);
      const f = value[name]; // opendir is a getter until it is replaced
      if (typeof f !== 'function') return;
      const symbols = Object.getOwnPropertySymbols(f).map(String);
      console.log(name, f.name, f.length, d.writable ?? true, d.enumerable, d.configurable, symbols.join());
    };
    for (const name of Object.keys(fs)) show(fs, name);
    for (const name of Object.keys(fs.promises)) show(fs.promises, name);
    for (const name of ['setuid', 'setgid', 'seteuid', 'setegid', 'setgroups', 'initgroups'])
      show(process, name);
    console.log(Object.keys(globalThis).join(), Object.keys(process).sort().join());
    console.log(require('fs/promises') === fs.promises, fs.promises.constants === fs.constants);
  `;
  const file = join(scratch('app.cjs', text), 'app.cjs');
  const plain = await execute([file]);
  const registered = await execute(underImport(file));
  assert.equal(registered.stdout, plain.stdout);
  assert.equal(registered.stderr, '');
});

test('what the runtime accelerates is what has a door', async () => {
  const { stdout } = await execute([
    '-e',
    `const fs = require('fs');
     const plain = { ...fs }, promises = { ...fs.promises };
     const ours = require(${JSON.stringify(join(root, 'dist', 'fs.cjs'))});
     const differ = (a, b) => Object.keys(a).filter((k) => typeof a[k] === 'function' && a[k] !== b[k]);
     const made = differ(plain, ours).concat(differ(promises, ours.promises));
     require(${JSON.stringify(registerCjs)});
     const doors = differ(plain, fs).concat(differ(promises, fs.promises));
     // Node's streams call fs.open, fs.read …: doors. Only trapless/fs needs its own.
     console.log(made.filter((k) => !/^create(Read|Write)Stream$/.test(k)).join() === doors.join(), doors.length);`,
  ]);
  assert.match(stdout, /^true \d\d\n$/);
});

test('a program ends when nothing is in flight, and beforeExit comes once', async () => {
  assert.equal(
    await onBoth(`
      const fs = require('fs');
      process.on('beforeExit', () => console.log('beforeExit'));
      process.on('exit', (code) => console.log('exit', code));
      fs.readFile(__filename, () => {
        console.log('read');
        fs.promises.stat('/').then(() => console.log('stat'));
      });`),
    'read\nstat\nbeforeExit\nexit 0\n0',
  );
  assert.equal(await onBoth(`process.on('beforeExit', () => console.log('b'));`), 'b\n0');
});

test('work begun in beforeExit revives the loop', async () => {
  assert.equal(
    await onBoth(`
      let times = 0;
      process.on('beforeExit', () => {
        console.log('beforeExit', ++times);
        if (times < 3) require('fs').stat('/', () => console.log('stat'));
      });`),
    'beforeExit 1\nstat\nbeforeExit 2\nstat\nbeforeExit 3\n0',
  );
});

test('process.exit() in a callback ends it there', async () => {
  assert.equal(
    await onBoth(`
      const fs = require('fs');
      let done = 0;
      process.on('exit', () => console.log('exit'));
      for (let i = 0; i < 100; i++)
        fs.stat('/', () => {
          console.log(++done);
          if (done === 3) process.exit(9);
        });`),
    '1\n2\n3\nexit\n9',
  );
});

test('process.exit() while calls are in flight, some blocked for ever', async () => {
  assert.equal(
    await onBoth(`
      const fs = require('fs');
      const fifo = __dirname + '/fifo';
      require('child_process').execFileSync('mkfifo', [fifo]);
      for (let i = 0; i < 8; i++) fs.open(fifo, 'r', () => console.log('must not come'));
      for (let i = 0; i < 1000; i++) fs.readFile(__filename, () => {});
      setTimeout(() => process.exit(4), 50);`),
    '4',
  );
});

test('a watcher that is started in the same turn does not hold calls back', async () => {
  const output = await onBoth(`
    const fs = require('fs');
    // A ring or a crew thread must wake the loop for these.
    function withWatcher(name, args, then) {
      const timer = setTimeout(() => {}, 4000);
      fs.open(__filename, 'r+', (_, fd) => setImmediate(() => {
        const server = require('net').createServer().listen(0);
        const start = performance.now();
        fs[name](fd, ...args, (error) => {
          console.log(name, error, performance.now() - start < 2000);
          clearTimeout(timer);
          server.close();
          fs.close(fd, then);
        });
      }));
    }
    withWatcher('fsync', [], () => withWatcher('fchmod', [0o644], () => {}));`);
  assert.equal(output, 'fsync null true\nfchmod null true\n0');
});

test('a socket that is closed says so before the other end of it learns', async () => {
  const folder = scratch(
    'app.cjs',
    `const net = require('net');
     const events = [];
     const note = (who, socket) => {
       for (const event of ['end', 'finish', 'close'])
         socket.resume().on(event, () => events.push(who + ' ' + event));
     };
     const server = net.createServer((socket) => {
       note('server', socket);
       socket.end('bye').on('close', () => server.close());
     });
     server.listen(0, '127.0.0.1', () =>
       note('client', net.connect(server.address().port, '127.0.0.1')));
     process.on('exit', () => console.log(events.join()));`,
  );
  const app = join(folder, 'app.cjs');
  const plain = await execute([app]);
  assert.match(plain.stdout, /client close,server end,server close/);
  for (const env of [{}, { TRAPLESS_RING: '0' }])
    assert.deepEqual(await execute(underRequire(app), { env }), plain);
});

test('an error in a callback is an uncaught exception, and the others still complete', async () => {
  assert.equal(
    await onBoth(`
      const fs = require('fs');
      let done = 0;
      let ticks = 0;
      process.on('uncaughtException', (error, origin) => console.log(error.message, origin));
      for (let i = 0; i < 50; i++)
        fs.stat('/', () => {
          if (ticks !== done) console.log('a callback before the ticks of another');
          done++;
          if (done === 11 || done === 31) {
            ticks++;
            throw new Error('from ' + done);
          }
          process.nextTick(() => Promise.resolve().then(() => ticks++));
        });
      process.on('exit', () => console.log(done));`),
    'from 11 uncaughtException\nfrom 31 uncaughtException\n50\n0',
  );
});

test('an error in a callback: its domain is told, and what comes next is as in node', async () => {
  const folder = scratch(
    'app.cjs',
    `const fs = require('fs');
     const domain = require('domain');
     process.on('uncaughtException', (error) => console.log('uncaught', error.message));
     fs.stat('/', () => {
       process.nextTick(() => console.log('tick'));
       Promise.resolve().then(() => console.log('promise'));
       throw new Error('one');
     });
     fs.stat('/', () => console.log('two'));
     // Node's pool has time to finish both, so that the loop finds them together, as it does ours.
     Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
     const own = domain.create();
     own.on('error', (error) => console.log('domain', error.message));
     setTimeout(() => own.run(() => fs.open('/', 'r', (error, fd) => {
       fs.closeSync(fd);
       fs.readdir('/missing', () => { throw new Error('three'); });
       throw new Error('four');
     })), 50);`,
  );
  const app = join(folder, 'app.cjs');
  const plain = await execute([app]);
  assert.match(plain.stdout, /^uncaught one\ntwo\ntick\npromise\ndomain four\ndomain three\n$/);
  for (const env of [{}, { TRAPLESS_RING: '0' }])
    assert.deepEqual(await execute(underRequire(app), { env }), plain);
});

test('an error in a callback that nobody catches ends the program as in node', async () => {
  const text = `require('fs').stat('/', function callback() {\n  throw new Error('alas');\n});\nprocess.on('exit', (c) => console.log(c));`;
  const file = join(scratch('app.cjs', text), 'app.cjs');
  const plain = await execute([file]);
  const registered = await execute(underRun(file));
  // Node points to the `throw`, here the message points to where the error was made.
  const head = (stderr: string) =>
    stderr
      .split('\n')
      .slice(0, 6)
      .join('\n')
      .replace(/^ *\^$/m, '');
  assert.equal(head(registered.stderr), head(plain.stderr));
  assert.equal(registered.stdout, plain.stdout);
  assert.equal(registered.code, plain.code);
});

test('a rejection that nobody handles ends the program as in node', async () => {
  const text = `require('fs').promises.stat('/not there').finally(() => console.log('finally'));`;
  const file = join(scratch('app.cjs', text), 'app.cjs');
  const plain = await execute([file]);
  const registered = await execute(underRun(file));
  assert.equal(registered.code, plain.code);
  assert.equal(registered.stdout, plain.stdout);
  assert.match(registered.stderr, /ENOENT: no such file or directory, stat '\/not there'/);
});

test('0 % CPU while idle', async () => {
  // A server, an interval and a blocked call keep the loop alive, with nothing for it to do.
  const output = await onBoth(`
    const fs = require('fs');
    const server = require('net').createServer().listen(0);
    const fifo = __dirname + '/fifo';
    require('child_process').execFileSync('mkfifo', [fifo]);
    fs.open(fifo, 'r', () => {});
    fs.readFile(__filename, async () => {
      await Promise.all(Array.from({ length: 500 }, () => fs.promises.stat(__filename)));
      setTimeout(() => {
        const before = process.cpuUsage();
        setTimeout(() => {
          const { user, system } = process.cpuUsage(before);
          const percent = (user + system) / 1000 / 3000 * 100;
          console.log(percent < 1 ? 'idle' : percent + ' % CPU');
          process.exit();
        }, 3000);
      }, 200);
    });`);
  assert.equal(output, 'idle\n0');
});

test('memory of the runtime, loaded and idle', async (t) => {
  const file = join(
    scratch(
      'app.cjs',
      `require('fs').stat('/', () => setTimeout(() => {
         const text = require('fs').readFileSync('/proc/self/smaps_rollup', 'utf8');
         console.log(['Anonymous', 'Rss'].map((name) => new RegExp(name + ': +(\\\\d+)').exec(text)[1]).join());
       }, 100));`,
    ),
    'app.cjs',
  );
  const least = async (args: string[]) => {
    const mib = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let i = 0; i < 5; i++) {
      const kib = (await execute(args)).stdout.split(',').map(Number);
      for (const at of [0, 1]) mib[at] = Math.min(mib[at], kib[at] / 1024);
    }
    return mib;
  };
  const [own, resident] = await least(underRun(file));
  const [ownPlain, residentPlain] = await least([file]);
  // Judged by what is the process's own: pages of node's program file are shared by all of them.
  t.diagnostic(`${(own - ownPlain).toFixed(1)} MiB over node (aim 4, at most 8)`);
  t.diagnostic(`resident, with pages of files: ${(resident - residentPlain).toFixed(1)} MiB`);
  assert.ok(own - ownPlain <= 8, `${own - ownPlain} MiB`);
});

/* --- Workers -------------------------------------------------------------------------------- */

test('a worker that returns, fails, exits or is terminated with calls in flight', async () => {
  assert.equal(
    await onBoth(`
      const fs = require('fs');
      const { Worker, isMainThread, workerData } = require('worker_threads');
      const fifo = __dirname + '/fifo';
      if (isMainThread) (async () => {
        require('child_process').execFileSync('mkfifo', [fifo]);
        for (const how of ['return', 'throw', 'exit', 'terminate', 'blocked'])
          for (let i = 0; i < 3; i++) {
            const worker = new Worker(__filename, { workerData: how });
            let failed = '';
            worker.on('error', (error) => (failed = error.message));
            const code = await new Promise((resolve) => {
              worker.on('exit', resolve);
              if (how === 'terminate' || how === 'blocked') worker.on('message', () => worker.terminate());
            });
            if (i === 0) console.log(how, code, failed);
          }
        const threads = fs.readdirSync('/proc/self/task').length;
        const fds = fs.readdirSync('/proc/self/fd').length;
        await fs.promises.readFile(__filename);
        console.log(threads < 20, fds < 40);
      })();
      else {
        const { parentPort } = require('worker_threads');
        for (let i = 0; i < 1000; i++) {
          fs.readFile(__filename, () => {});
          fs.promises.stat(__filename).then(() => {});
        }
        if (workerData === 'blocked') for (let i = 0; i < 4; i++) fs.open(fifo, 'r', () => {});
        if (workerData === 'throw') setImmediate(() => { throw new Error('on purpose'); });
        if (workerData === 'exit') setImmediate(() => process.exit(3));
        if (workerData === 'terminate' || workerData === 'blocked') setImmediate(() => parentPort.postMessage(1));
      }`),
    'return 0 \nthrow 1 on purpose\nexit 3 \nterminate 1 \nblocked 1 \ntrue true\n0',
  );
});

test('workers at work together, while the main thread is', async () => {
  assert.equal(
    await onBoth(
      `
      import { Worker, isMainThread, parentPort } from 'node:worker_threads';
      import { readFile, stat } from 'node:fs/promises';
      const file = new URL(import.meta.url);
      const work = async () => {
        let bytes = 0;
        for (let i = 0; i < 20; i++)
          for (const text of await Promise.all(Array.from({ length: 50 }, () => readFile(file, 'utf8'))))
            bytes += text.length;
        return bytes / (await stat(file)).size;
      };
      if (isMainThread) {
        const workers = Array.from({ length: 4 }, () => new Worker(file));
        const answers = workers.map((w) => new Promise((resolve) => w.on('message', resolve)));
        console.log(await work(), ...(await Promise.all(answers)));
      } else parentPort.postMessage(await work());`,
      {},
      'mjs',
    ),
    '1000 1000 1000 1000 1000\n0',
  );
});

/* --- Where trapless cannot work ------------------------------------------------------------- */

const TIER = `
  const fs = require('fs');
  fs.readFile(__filename, 'utf8', (error, text) => {
    if (error) throw error;
    const shared = process[Symbol.for('trapless')];
    console.log(text.length > 0, shared?.tier?.().name ?? 'off', shared?.tier?.().reason ?? '');
  });
`;
const tierFile = join(scratch('app.cjs', TIER), 'app.cjs');

test('without the addon the program runs as before', async () => {
  const { stdout, stderr } = await execute(underRun(tierFile), {
    env: { TRAPLESS_ADDON: '/not/there' },
  });
  assert.match(stdout, /^true passthrough the addon is missing \(looked for \/not\/there\)/);
  assert.equal(stderr, '');
});

test("under Node's permission model its checks stay in force", async () => {
  const major = Number.parseInt(process.versions.node, 10);
  const flag = major < 23 ? '--experimental-permission' : '--permission';
  const folder = scratch(
    'app.cjs',
    `console.log(typeof process[Symbol.for('trapless')]);
     require('fs').readFile('/etc/hostname', (error) => console.log(error?.code));
     require('fs').promises.readFile('/etc/hostname').catch((error) => console.log(error?.code));`,
  );
  const args = [flag, '--no-warnings', '--allow-addons', `--allow-fs-read=${root}/*`];
  const { stdout, stderr } = await execute([
    ...args,
    `--allow-fs-read=${folder}/*`,
    ...underImport(join(folder, 'app.cjs')),
  ]);
  assert.equal(stderr, '');
  assert.equal(stdout, 'undefined\nERR_ACCESS_DENIED\nERR_ACCESS_DENIED\n');
});

test('io_uring refused for want of locked memory: the crew alone', async (t) => {
  const refuse = ['--memlock=0', 'setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const rights = ['--inh-caps=-all', '--bounding-set=-all'];
  if (process.getuid?.() !== 0) return t.skip('needs root, to become another user');
  chmodSync(join(tierFile, '..'), 0o755);
  const readable = await execute(
    [
      ...refuse,
      ...rights,
      process.execPath,
      '-e',
      `fs.readFileSync(${JSON.stringify(registerCjs)})`,
    ],
    { command: 'prlimit' },
  ).catch(() => null);
  if (readable === null) return t.skip('prlimit or setpriv is missing');
  if (readable.code !== 0) return t.skip('another user cannot read this checkout');
  const run = (env: NodeJS.ProcessEnv) =>
    execute([...refuse, ...rights, process.execPath, ...underRun(tierFile)], {
      command: 'prlimit',
      env,
    });
  const { stdout, stderr } = await run({});
  assert.equal(stderr, '');
  assert.equal(stdout, 'true crew Linux refuses a ring: io_uring_setup: Cannot allocate memory\n');
});

test('io_uring refused by a seccomp filter: the crew, even if it would be allowed', async (t) => {
  // A filter of four instructions; python3 is what node-gyp needs, so it is likely to be there.
  const filter = (answer: string) => `
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, ${answer}), (0x06, 0, 0, 0x7fff0000)]
buffer = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *c) for c in code))
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
program = Program(len(code), ctypes.cast(buffer, ctypes.c_void_p))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
`;
  const under = (answer: string, env: NodeJS.ProcessEnv) =>
    execute(['-c', filter(answer), process.execPath, ...underRun(tierFile)], {
      command: 'python3',
      env,
    });
  const EPERM = '0x00050001';
  const ALLOW = '0x7fff0000';
  const refused = await under(EPERM, {}).catch(() => null);
  if (refused === null) return t.skip('python3 is missing');
  if (/AssertionError/.test(refused.stderr)) return t.skip('seccomp filters are not allowed here');
  assert.match(refused.stdout, /^true crew a seccomp filter is active/);
  assert.match((await under(ALLOW, {})).stdout, /^true crew a seccomp filter is active/);
  assert.match(
    (await under(EPERM, { TRAPLESS_RING: '1' })).stdout,
    /^true crew Linux refuses a ring: io_uring_setup: Operation not permitted/,
  );
  const forced = (await under(ALLOW, { TRAPLESS_RING: '1' })).stdout;
  assert.match(forced, /^true (ring|crew Linux refuses)/);
});

test('a mistake in the environment is told at once', async () => {
  const { code, stderr } = await execute(underImport(tierFile), { env: { TRAPLESS_CORES: 'x' } });
  assert.equal(code, 1);
  assert.match(stderr, /RangeError: trapless: a list of cores looks like 1,2-3, not "x"/);
});
