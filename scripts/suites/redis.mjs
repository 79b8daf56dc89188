// A Redis server of our own, empty, for one run of ioredis' suite.
//
//   const missing = await redisMissing();      // why there can be none, or ''
//   const redis = await startRedis();
//   …
//   await redis.stop();
//
// The suite connects to port 6379 and empties the database it finds there. So that port must be
// free: a server that somebody else runs is never used.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const PORT = 6379;
const READY_MS_MAX = 10_000;

export async function redisMissing() {
  if (spawnSync('redis-server', ['--version']).status !== 0)
    return 'no redis-server in PATH (Debian, Ubuntu: apt-get install redis-server)';
  if (!(await isFree()))
    return `port ${PORT} is taken, and its tests empty the Redis they find there: stop that server`;
  return '';
}

/** @returns {Promise<boolean>} */
function isFree() {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(false));
    server.listen(PORT, '127.0.0.1', () => server.close(() => done(true)));
  });
}

export function redisVersion() {
  const { stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' });
  return /v=(\S+)/.exec(stdout ?? '')?.[1] ?? 'unknown';
}

export async function startRedis() {
  const folder = mkdtempSync(join(tmpdir(), 'trapless-redis-'));
  const settings = { port: PORT, bind: '127.0.0.1', dir: folder, save: '', appendonly: 'no' };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn('redis-server', args, { stdio: 'ignore' });
  const gone = new Promise((done) => child.once('close', done));
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);
  const stop = async () => {
    process.off('exit', onExit);
    child.kill('SIGKILL'); // It keeps nothing, so it has nothing to write.
    await gone;
    rmSync(folder, { recursive: true, force: true });
  };
  const until = Date.now() + READY_MS_MAX;
  while (!(await answers())) {
    if (child.exitCode !== null || Date.now() > until) {
      await stop();
      throw new Error('redis-server did not start');
    }
    await delay(50);
  }
  return { stop };
}

/** @returns {Promise<boolean>} */
function answers() {
  return new Promise((done) => {
    const socket = connect(PORT, '127.0.0.1', () => socket.write('PING\r\n'));
    socket.once('data', (data) => {
      socket.destroy();
      done(String(data).startsWith('+PONG'));
    });
    socket.once('error', () => done(false));
  });
}
