/**
 * Does an Express program answer as it does on plain Node, and bear what Express does to its
 * requests and responses? A failure means that responses differ, or that V8 gives each of them a
 * hidden class of its own again, which costs more than everything else (bare-object.ts).
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, root, scratch, underImport } from '../support/execute.ts';

const express = JSON.stringify(join(root, 'node_modules', 'express'));

/** Asks its own server for everything, several times on the same connection, and tells. */
const PROGRAM = `
Error.stackTraceLimit = 0; // the way to the program is another
const http = require('node:http');
const { createHash } = require('node:crypto');
const { isDeepStrictEqual, inspect } = require('node:util');
const express = require(${express});
const app = express();
const seen = [];
app.use((request, response, next) => {
  response.on('finish', () => seen.push([request, response]));
  next();
});
app.get('/made', (request, response) => {
  response.json(
    [request, response].map((it) => [
      Object.keys(it),
      Object.getOwnPropertySymbols(it).map(String),
      Object.prototype.toString.call(it),
      it.constructor.name,
      it instanceof http.IncomingMessage || it instanceof http.ServerResponse,
      Object.getPrototypeOf(Object.getPrototypeOf(Object.getPrototypeOf(it))) ===
        (it === request ? http.IncomingMessage : http.ServerResponse).prototype,
      isDeepStrictEqual(it, it),
      inspect(it, { depth: -1 }),
      JSON.stringify(Object.getOwnPropertyDescriptor(it, 'req') ?? null, (key, value) =>
        key === 'value' ? typeof value : value),
    ]),
  );
});
app.post('/echo', express.text(), (request, response) => response.send(request.body));
app.get('/fails', () => { throw new Error('on purpose'); });
app.set('env', 'test');
app.use(express.static(__dirname));
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
function ask(path, options = {}, body) {
  const { port } = server.address();
  return new Promise((resolve, reject) => {
    http.request({ port, path, agent, ...options }, (response) => {
      let text = '';
      response.setEncoding('latin1').on('data', (it) => (text += it)).on('end', () => {
        const { date, ...headers } = response.headers;
        const body = text.length < 2000 ? text : createHash('sha1').update(text).digest('hex');
        resolve([response.statusCode, response.statusMessage, headers, body]);
      });
    }).on('error', reject).end(body);
  });
}
const server = app.listen(0, async () => {
  const etag = (await ask('/file.txt'))[2].etag;
  for (let round = 0; round < 3; round++)
    for (const [path, options, body] of [
      ['/file.txt'], ['/file.txt', { method: 'HEAD' }], ['/none'], ['/sub'], ['/.dot'], ['/made'],
      ['/file.txt', { headers: { range: 'bytes=2-5' } }],
      ['/file.txt', { headers: { range: 'bytes=200000-' } }],
      ['/file.txt', { headers: { 'if-none-match': etag } }],
      ['/large.txt'], ['/empty.txt'], ['/%ff'], ['/fails'],
      ['/echo', { method: 'POST', headers: { 'content-type': 'text/plain' } }, 'a body'],
    ])
      console.log(JSON.stringify([path, await ask(path, options, body)]));
  seen.length = 0;
  for (let i = 0; i < 20; i++) await ask('/file.txt');
  const [one, other] = seen.slice(-2);
  console.error([0, 1].map((i) => %HaveSameMap(one[i], other[i])).join());
  process.exit();
});
`;

test('Express: the same answers, from objects that V8 knows', async () => {
  const files = { 'file.txt': 'a file of some bytes', 'empty.txt': '', '.dot': 'hidden' };
  const more = { 'large.txt': 'large '.repeat(50_000), 'sub/file.txt': 'below' };
  const folder = scratch(...Object.entries({ 'app.cjs': PROGRAM, ...files, ...more }).flat());
  const app = join(folder, 'app.cjs');
  const flags = ['--allow-natives-syntax'];
  const plain = await execute([...flags, app]);
  assert.equal(plain.code, 0, plain.stderr);
  assert.equal(plain.stdout.split('\n').length, 3 * 14 + 1);
  for (const ring of ['', '0']) {
    const env = { TRAPLESS_RING: ring };
    const ours = await execute([...flags, ...underImport(app)], { env });
    assert.equal(ours.code, 0, ours.stderr);
    assert.equal(ours.stdout, plain.stdout);
    assert.equal(ours.stderr, 'true,true\n');
  }
});
