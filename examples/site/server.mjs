/**
 * A little site: static files, directory listings, uploads and a JSON summary of data files.
 * Only node:http and node:fs; nothing here knows of trapless.
 *
 *   node server.mjs [--port 8080] [--root DIR]         plain
 *   npx trapless run server.mjs [--port 8080] [...]    the same program under trapless
 *
 *   GET  /               public/, with index.html for a directory that has one
 *   GET  /notes/         a listing of any other directory
 *   GET  /api/summary    one object per file in data/
 *   PUT  /uploads/NAME   stores the body; GET fetches it again
 */

import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    root: { type: 'string', default: fileURLToPath(new URL('.', import.meta.url)) },
  },
});
const publicRoot = resolve(options.root, 'public');
const dataRoot = resolve(options.root, 'data');
const uploadRoot = resolve(options.root, 'uploads');

/** Larger files are streamed: they should not be in memory as a whole. */
const wholeFileBytesMax = 256 * 1024;
const uploadBytesMax = 16 * 1024 * 1024;

const contentTypes = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.json': 'application/json',
  '.jpg': 'image/jpeg',
};

const server = createServer((request, response) => {
  answer(request, response).catch((error) => fail(response, error));
});

async function answer(request, response) {
  const path = decodePath(request.url);
  if (request.method === 'PUT' || request.method === 'POST') {
    if (!path.startsWith('/uploads/')) throw new HttpError(405, 'uploads go to /uploads/NAME');
    return upload(path.slice('/uploads/'.length), request, response);
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    throw new HttpError(405, `there is no ${request.method} here`);
  }
  if (path === '/api/summary') return summary(response);
  if (path.startsWith('/uploads/')) return file(below(uploadRoot, path.slice(8)), response);
  return file(below(publicRoot, path), response);
}

/** A file, the index.html of a directory, or the listing of one. */
async function file(path, response) {
  let found = path;
  let stats = await stat(found);
  if (stats.isDirectory()) {
    found = join(path, 'index.html');
    stats = await stat(found).catch(() => null);
    if (stats === null) return listing(path, response);
  }
  response.setHeader('Content-Type', contentTypes[extname(found)] ?? 'application/octet-stream');
  response.setHeader('Last-Modified', stats.mtime.toUTCString());
  if (stats.size > wholeFileBytesMax) {
    response.setHeader('Content-Length', stats.size);
    return pipeline(createReadStream(found), response);
  }
  const body = await readFile(found);
  response.setHeader('Content-Length', body.length);
  response.end(body);
}

async function listing(path, response) {
  const entries = await readdir(path, { withFileTypes: true });
  const rows = await Promise.all(
    entries.map(async (entry) => {
      const name = entry.isDirectory() ? `${entry.name}/` : entry.name;
      const { size, mtime } = await stat(join(path, entry.name));
      const link = `<a href="${encodeURIComponent(entry.name)}">${escapeHtml(name)}</a>`;
      return `<tr><td>${link}<td>${size}<td>${mtime.toISOString()}`;
    }),
  );
  send(response, 200, contentTypes['.html'], `<table>\n${rows.sort().join('\n')}\n</table>\n`);
}

/** Every station's lowest, highest and mean reading. */
async function summary(response) {
  const names = (await readdir(dataRoot)).filter((name) => name.endsWith('.json')).sort();
  const stations = await Promise.all(
    names.map(async (name) => JSON.parse(await readFile(join(dataRoot, name), 'utf8'))),
  );
  const result = stations.map(({ station, readings }) => ({
    station,
    lowest: Math.min(...readings),
    highest: Math.max(...readings),
    mean: readings.reduce((a, b) => a + b, 0) / readings.length,
  }));
  send(response, 200, contentTypes['.json'], JSON.stringify(result));
}

/** Streamed to a file of its own, then given its name: nobody ever reads half an upload. */
async function upload(name, request, response) {
  if (!/^[\w-][\w.-]{0,99}$/.test(name)) throw new HttpError(400, 'a name of letters and digits');
  const announced = request.headers['content-length'];
  if (announced === undefined) throw new HttpError(411, 'Content-Length is needed');
  if (Number(announced) > uploadBytesMax) throw new HttpError(413, 'too large');
  const temporary = join(uploadRoot, `.${name}.${process.pid}.${uploads++}`);
  try {
    await pipeline(request, createWriteStream(temporary));
    await rename(temporary, join(uploadRoot, name));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  send(response, 201, contentTypes['.json'], JSON.stringify({ stored: name }));
}

let uploads = 0;

function send(response, status, type, body) {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function fail(response, error) {
  const missing = error.code === 'ENOENT' || error.code === 'ENOTDIR';
  const status = error.status ?? (missing ? 404 : 500);
  if (status === 500) console.error(error);
  if (response.headersSent) return response.destroy();
  response.setHeader('Connection', 'close'); // The rest of the request is not read.
  const message = { 404: 'not found', 500: 'internal error' }[status] ?? error.message;
  send(response, status, contentTypes['.txt'], `${message}\n`);
}

function decodePath(url) {
  try {
    return decodeURIComponent(url.split('?')[0]);
  } catch {
    throw new HttpError(400, 'malformed path');
  }
}

/** The path inside `root`; whoever tries to leave it gets nothing. */
function below(root, path) {
  const full = join(root, path);
  if (path.includes('\0') || (full !== root && !full.startsWith(root + sep))) {
    throw new HttpError(404, 'not found');
  }
  return full;
}

function escapeHtml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

await mkdir(uploadRoot, { recursive: true });
server.listen(Number(options.port), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/`);
});
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    server.close();
    server.closeIdleConnections();
  });
}
