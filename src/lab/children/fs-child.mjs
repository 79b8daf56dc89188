/**
 * One trial of the file-system benchmark: an ordinary program that calls node:fs.
 *
 *   node fs-child.mjs '{"api":"promises","root":"/dev/shm/x","cases":["stat"],"inFlight":[1,64],
 *                       "warmMs":50,"measureMs":200}'
 *
 * Plain JavaScript without dependencies, because it runs unchanged on any Node, on Bun and under
 * `--import trapless/register`. It prints one JSON line per measurement and checks every result,
 * so that nothing can be fast by doing less. The files are made by `src/lab/bench-fs.ts`, which
 * sends their number and sizes in the plan.
 */

import fs from 'node:fs';
import fsp from 'node:fs/promises';

const plan = JSON.parse(process.argv[2]);
const { api, root, files, smallBytes, largeBytes, blockBytes, entries } = plan;

/** Closed loops beyond the number of files share them; loop i works on file i % files. */
const fileOf = (loop) => loop % files;
/** Every byte of file i; never zero, so that a buffer nobody wrote to is noticed. */
const fillOf = (file) => 1 + (file % 250);

const paths = (folder) => Array.from({ length: files }, (_, i) => `${root}/${folder}/${i}`);
const small = paths('small');
const large = paths('large');
const written = paths('written');
const listing = `${root}/listing`;

function expect(condition, what) {
  if (!condition) throw new Error(`wrong result: ${what}`);
}

function checkData(data, bytes, loop) {
  expect(data.length === bytes, `${data.length} bytes read of ${bytes}`);
  const fill = fillOf(fileOf(loop));
  expect(data[0] === fill && data[bytes - 1] === fill, `${data[0]} read, not ${fill}`);
}

/**
 * A case: `begin` the call in each form, `check` its result. `before` and `after` surround a
 * whole measurement and are not timed.
 */
const cases = {
  stat: {
    promises: (loop) => fsp.stat(small[fileOf(loop)]),
    callback: (loop, done) => fs.stat(small[fileOf(loop)], done),
    sync: (loop) => fs.statSync(small[fileOf(loop)]),
    check: (_, stats) => expect(stats.size === smallBytes, `size ${stats.size}`),
  },

  'readFile-1k': {
    promises: (loop) => fsp.readFile(small[fileOf(loop)]),
    callback: (loop, done) => fs.readFile(small[fileOf(loop)], done),
    sync: (loop) => fs.readFileSync(small[fileOf(loop)]),
    check: (loop, data) => checkData(data, smallBytes, loop),
  },

  'readFile-64k': {
    promises: (loop) => fsp.readFile(large[fileOf(loop)]),
    callback: (loop, done) => fs.readFile(large[fileOf(loop)], done),
    sync: (loop) => fs.readFileSync(large[fileOf(loop)]),
    check: (loop, data) => checkData(data, largeBytes, loop),
  },

  'read-4k': {
    async before(loops) {
      this.buffers = Array.from({ length: loops }, () => Buffer.alloc(blockBytes));
      this.handles =
        api === 'promises'
          ? await Promise.all(large.map((path) => fsp.open(path)))
          : large.map((path) => fs.openSync(path));
    },
    promises(loop) {
      return this.handles[fileOf(loop)].read(this.clean(loop), 0, blockBytes, 0);
    },
    callback(loop, done) {
      fs.read(this.handles[fileOf(loop)], this.clean(loop), 0, blockBytes, 0, done);
    },
    sync(loop) {
      return fs.readSync(this.handles[fileOf(loop)], this.clean(loop), 0, blockBytes, 0);
    },
    clean(loop) {
      const buffer = this.buffers[loop];
      buffer[0] = 0;
      buffer[blockBytes - 1] = 0;
      return buffer;
    },
    check(loop, result) {
      const count = typeof result === 'number' ? result : result.bytesRead;
      expect(count === blockBytes, `${count} bytes read of ${blockBytes}`);
      checkData(this.buffers[loop], blockBytes, loop);
    },
    async after() {
      for (const handle of this.handles) {
        if (api === 'promises') await handle.close();
        else fs.closeSync(handle);
      }
    },
  },

  'writeFile-1k': {
    stamp: 0,
    async before(loops) {
      // A new stamp each time: what an earlier measurement wrote cannot pass for this one's.
      this.stamp = (this.stamp % 250) + 1;
      this.buffers = Array.from({ length: loops }, () => Buffer.alloc(smallBytes, this.stamp));
      for (const path of written) fs.rmSync(path, { force: true });
    },
    promises(loop) {
      return fsp.writeFile(written[fileOf(loop)], this.buffers[loop]);
    },
    callback(loop, done) {
      fs.writeFile(written[fileOf(loop)], this.buffers[loop], done);
    },
    sync(loop) {
      return fs.writeFileSync(written[fileOf(loop)], this.buffers[loop]);
    },
    check: () => {},
    async after(loops) {
      for (let file = 0; file < Math.min(loops, files); file++) {
        const data = fs.readFileSync(written[file]);
        expect(data.length === smallBytes, `${data.length} bytes written of ${smallBytes}`);
        expect(
          data.every((byte) => byte === this.stamp),
          'written bytes differ',
        );
      }
    },
  },

  'readdir-1000': {
    promises: () => fsp.readdir(listing),
    callback: (_, done) => fs.readdir(listing, done),
    sync: () => fs.readdirSync(listing),
    check: (_, names) =>
      expect(
        names.length === entries && typeof names[entries - 1] === 'string',
        `${names.length} names of ${entries}`,
      ),
  },
};

/**
 * `count` operations in `loops` closed loops, each with one operation outstanding. Resolves when
 * the last one has ended.
 */
const drivers = {
  async promises(one, loops, count) {
    let left = count;
    const loop = async (i) => {
      while (left-- > 0) one.check(i, await one.promises(i));
    };
    if (loops === 1) await loop(0);
    else await Promise.all(Array.from({ length: loops }, (_, i) => loop(i)));
  },

  callback(one, loops, count) {
    return new Promise((resolve, reject) => {
      let left = count;
      let running = loops;
      const loop = (i) => {
        const next = () => {
          if (left-- > 0) one.callback(i, done);
          else if (--running === 0) resolve();
        };
        const done = (error, result) => {
          try {
            if (error) throw error;
            one.check(i, result);
            next();
          } catch (problem) {
            reject(problem);
          }
        };
        next();
      };
      for (let i = 0; i < loops; i++) loop(i);
    });
  },

  // Nothing is ever in flight: the loops take turns, so that the same files are touched.
  async sync(one, loops, count) {
    for (let n = 0; n < count; n++) one.check(n % loops, one.sync(n % loops));
  },
};

/** Microseconds per operation, after warming up for `warmMs` at least. */
async function measure(name, loops) {
  const one = cases[name];
  const drive = drivers[api];
  await one.before?.(loops);

  // Growing rounds, so that no clock is read per operation; the last one tells the speed.
  const warmUntil = performance.now() + plan.warmMs;
  let round = Math.max(loops, 8);
  let perMs = 0;
  for (;;) {
    const startMs = performance.now();
    await drive(one, loops, round);
    const endMs = performance.now();
    perMs = round / Math.max(endMs - startMs, 0.001);
    if (endMs >= warmUntil) break;
    round *= 2;
  }

  // Two per loop at least, else only the bursts at start and end would be seen.
  const count = Math.max(2 * loops, Math.round(perMs * plan.measureMs));
  const startMs = performance.now();
  await drive(one, loops, count);
  const elapsedMs = performance.now() - startMs;
  await one.after?.(loops);
  return { case: name, inFlight: loops, usPerOp: (elapsedMs * 1000) / count, ops: count };
}

for (const name of plan.cases) {
  for (const loops of plan.inFlight) console.log(JSON.stringify(await measure(name, loops)));
}
