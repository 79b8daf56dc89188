/**
 * After setuid() and its like, does no call run with the old credentials, on any kind of syscall
 * thread? A failure is a security hole: a server that gave up root would still read as root.
 *
 * Each test is a process of its own that starts as root and gives it up. Others skip.
 */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, root, scratch, underImport } from '../support/execute.ts';

const NOBODY = 65534;

const KINDS: Readonly<Record<string, NodeJS.ProcessEnv>> = {
  ring: { TRAPLESS_RING: '1' },
  sqpoll: { TRAPLESS_RING: '1', TRAPLESS_SQPOLL: '1' },
  crew: { TRAPLESS_RING: '0' },
};

/** Why a kind cannot be tested here. */
function missing(kind: string): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, to give it up';
  if (kind === 'sqpoll' && availableParallelism() < 2) return 'needs a second core';
  return undefined;
}

/** A folder that nobody may enter, with a file for root alone in it. */
function secrets(): string {
  const folder = scratch('secret', 'the secret');
  chmodSync(folder, 0o755);
  chmodSync(join(folder, 'secret'), 0o600);
  return folder;
}

async function onEach(name: string, body: (env: NodeJS.ProcessEnv) => Promise<void>) {
  for (const [kind, env] of Object.entries(KINDS))
    await test(`${name}: ${kind}`, { skip: missing(kind) }, () => body(env));
}

async function output(text: string, env: NodeJS.ProcessEnv): Promise<string> {
  const folder = secrets();
  const file = join(folder, 'app.cjs');
  writeFileSync(file, text);
  const { stdout, stderr } = await execute(underImport(file), { env });
  assert.equal(stderr, '');
  return stdout.trim();
}

await onEach('after setuid a file of root cannot be read', async (env) => {
  const lines = await output(
    `const fs = require('fs');
     const secret = __dirname + '/secret';
     const fsp = fs.promises;
     const code = (promise) => promise.then(() => 'done', (error) => error.code);
     fs.readFile(secret, 'utf8', async (error, text) => {
       console.log(text);
       const handle = await fsp.open(secret);
       process.setgroups([]);
       process.setgid(${NOBODY});
       process.setuid(${NOBODY});
       console.log(await Promise.all([
         code(fsp.readFile(secret)), code(fsp.open(secret)), code(fsp.writeFile(secret, 'x')),
         code(fsp.open(secret, 'a')), code(fsp.unlink(secret)), code(fsp.chmod(secret, 0o777)),
         code(fsp.mkdir(__dirname + '/new')), code(fsp.readdir('/root')), code(fsp.truncate(secret)),
       ]).then(String));
       // In large batches, which are shared with the crew.
       console.log([...new Set(await Promise.all(Array.from({ length: 300 }, () => code(fsp.readFile(secret)))))].join());
       // What was opened before stays open, as in any Unix program.
       console.log(String((await handle.read()).buffer.subarray(0, 10)));
       console.log(process.getuid(), await code(fsp.stat(secret)));
     });`,
    env,
  );
  assert.deepEqual(lines.split('\n'), [
    'the secret',
    'EACCES,EACCES,EACCES,EACCES,EACCES,EPERM,EACCES,EACCES,EACCES',
    'EACCES',
    'the secret',
    `${NOBODY} done`,
  ]);
});

await onEach('calls made before it are completed with the old ones', async (env) => {
  const lines = await output(
    `const fs = require('fs');
     const secret = __dirname + '/secret';
     const made = [];
     let inside = false;
     const see = (name) => (error, value) => {
       made.push(name + ' ' + (error ? error.code : 'done') + (inside ? ' inside setuid' : ''));
     };
     fs.stat('/', () => {
       for (let i = 0; i < 100; i++) fs.readFile(secret, 'utf8', see('read'));
       fs.writeFile(__dirname + '/written', 'x', see('write'));
       fs.open(secret, 'r+', see('open'));
       inside = true;
       process.setuid(${NOBODY});
       inside = false;
       console.log(made.length);
       fs.readFile(secret, see('after'));
     });
     process.on('exit', () => console.log([...new Set(made)].sort().join()));`,
    env,
  );
  assert.deepEqual(lines.split('\n'), ['0', 'after EACCES,open done,read done,write done']);
});

await onEach('a call that blocks does not hold it up, and is not lost', async (env) => {
  const lines = await output(
    `const fs = require('fs');
     const fifo = __dirname + '/fifo';
     require('child_process').execFileSync('mkfifo', ['-m', '666', fifo]);
     const pipe = __dirname + '/pipe';
     require('child_process').execFileSync('mkfifo', [pipe]);
     const ends = fs.openSync(pipe, 'r+');
     fs.read(ends, Buffer.alloc(4), 0, 4, null, (error, n, { buffer }) =>
       console.log('read', error?.code ?? n));
     fs.open(fifo, 'r', (error, fd) => console.log('opened', error?.code ?? typeof fd));
     setTimeout(() => {
       const started = performance.now();
       process.setuid(${NOBODY});
       console.log(performance.now() - started < 1000 ? 'at once' : 'held up');
       fs.readFile(__dirname + '/secret', (error) => {
         console.log(error.code);
         fs.writeSync(ends, 'data');
         setTimeout(() => fs.open(fifo, 'w', () => setTimeout(process.exit, 50)), 50);
       });
     }, 50);`,
    env,
  );
  assert.deepEqual(lines.split('\n'), ['at once', 'EACCES', 'read 4', 'opened number']);
});

await onEach('seteuid there and back, setegid, and what is refused', async (env) => {
  const lines = await output(
    `const fs = require('fs');
     const secret = __dirname + '/secret';
     const code = () => fs.promises.readFile(secret).then(() => 'done', (error) => error.code);
     (async () => {
       const seen = [await code()];
       process.setegid(${NOBODY});
       process.seteuid(${NOBODY});
       seen.push(await code());
       try { process.setgroups([0]); } catch (error) { seen.push(error.code, error.syscall); }
       process.seteuid(0);
       process.setegid(0);
       seen.push(await code());
       try { process.setuid('no-such-user'); } catch (error) { seen.push(error.code); }
       try { process.setuid(); } catch (error) { seen.push(error.code); }
       seen.push(await code());
       console.log(seen.join());
     })();`,
    env,
  );
  assert.equal(
    lines,
    'done,EACCES,EPERM,setgroups,done,ERR_UNKNOWN_CREDENTIAL,ERR_INVALID_ARG_TYPE,done',
  );
});

await onEach('a worker does not keep them, either', async (env) => {
  const lines = await output(
    `const fs = require('fs');
     const { Worker, isMainThread, parentPort } = require('worker_threads');
     const secret = __dirname + '/secret';
     const read = () => fs.promises.readFile(secret).then(() => 'done', (error) => error.code);
     if (isMainThread) {
       const worker = new Worker(__filename);
       worker.on('message', (message) => {
         console.log(message);
         if (message !== 'done') return worker.terminate();
         process.setuid(${NOBODY});
         worker.postMessage('again');
       });
     } else {
       parentPort.on('message', async () => parentPort.postMessage(await read()));
       read().then((seen) => parentPort.postMessage(seen));
     }`,
    env,
  );
  assert.deepEqual(lines.split('\n'), ['done', 'EACCES']);
});

test('the first call after it finds its addon, though the new user could not', {
  skip: missing('ring'),
}, async () => {
  // The package where nobody else may look, as in a home directory.
  const hidden = scratch(
    'app.cjs',
    `process.setuid(${NOBODY});
     require('fs').stat('/', () => console.log(process[Symbol.for('trapless')].tier().name));`,
  );
  const copy = await execute(
    [
      '-c',
      `cp -rL '${root}/dist' '${root}/package.json' '${hidden}' && mkdir -p '${hidden}/native/build/Release' && cp '${root}/native/build/Release/trapless.node' '${hidden}/native/build/Release/' && chmod 700 '${hidden}'`,
    ],
    { command: 'sh' },
  );
  assert.equal(copy.stderr, '');
  const { stdout, stderr } = await execute([
    '--require',
    join(hidden, 'dist', 'register.cjs'),
    join(hidden, 'app.cjs'),
  ]);
  assert.equal(stderr, '');
  assert.match(stdout, /^(ring|crew)$/m);
});

test('on a polled ring itself: made anew with the new ones', {
  skip: missing('sqpoll'),
}, async () => {
  // The routing table sends no path to the ring; here it is made to.
  const source = (file: string) => JSON.stringify(join(root, 'src', file));
  const folder = secrets();
  const child = `
    import { guardCredentials } from ${source('node/credentials.ts')};
    import { Kernel } from ${source('kernel/kernel.ts')};
    import { number } from ${source('ops/call.ts')};
    import { open } from ${source('ops/open.ts')};
    const guarded = process.argv[2] === 'guarded';
    const kernel = Kernel.register({ sqpollCore: 1 });
    if (guarded) guardCredentials(kernel);
    kernel.reroute(number('openat'), 'ring');
    const tryOpen = () => new Promise((resolve) =>
      open(kernel, ${JSON.stringify(join(folder, 'secret'))}, 0, 0, (_k, _id, fd) => fd,
        () => resolve('opened'), (error) => resolve(error.code)));
    const before = await tryOpen();
    const { calls } = kernel.statistics();
    process.setuid(${NOBODY});
    console.log(calls.ring, kernel.ring?.sqpoll, before, await tryOpen());
    kernel.close();
  `;
  const file = join(folder, 'child.mts');
  writeFileSync(file, child);
  const run = (how: string) =>
    execute(['--import', join(root, 'node_modules', 'tsx', 'dist', 'esm', 'index.mjs'), file, how]);
  assert.deepEqual(await run('guarded'), {
    code: 0,
    signal: null,
    stdout: '1 true opened EACCES\n',
    stderr: '',
  });
  // What the guard is for: Linux's thread would go on as root.
  assert.equal((await run('unguarded')).stdout, '1 true opened opened\n');
});
