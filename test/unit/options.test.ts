/**
 * What register() takes: defaults, the environment, and messages that name what to change.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { environmentOptions, kernelOptions, parseCores } from '../../src/kernel/options.ts';

const names = ['RING', 'SQPOLL', 'CORES', 'ORDER', 'SHARE'].map((name) => `TRAPLESS_${name}`);
let saved: (string | undefined)[];
beforeEach(() => {
  saved = names.map((name) => process.env[name]);
  for (const name of names) delete process.env[name];
});
afterEach(() => {
  for (const [i, name] of names.entries()) {
    if (saved[i] === undefined) delete process.env[name];
    else process.env[name] = saved[i];
  }
});

test('defaults', () => {
  const options = kernelOptions({});
  assert.equal(options.pages, 8);
  assert.equal(options.pagesMax, 64);
  assert.equal(options.ring, true);
  assert.equal(options.sqpollCore, null);
  assert.deepEqual(options.cores, []);
  assert.equal(options.order, 'as-found');
});

test('what is undefined counts as left out', () => {
  assert.equal(kernelOptions({ pages: undefined, ring: undefined }).pages, 8);
  assert.equal(kernelOptions({ ring: undefined }).ring, true);
});

test('options over environment over defaults', () => {
  process.env.TRAPLESS_RING = '0';
  process.env.TRAPLESS_CORES = '1,3-4';
  process.env.TRAPLESS_SQPOLL = '1';
  assert.equal(kernelOptions({}).ring, false);
  assert.equal(kernelOptions({ ring: true }).ring, true);
  assert.deepEqual(kernelOptions({}).cores, [1, 3, 4]);
  assert.equal(kernelOptions({}).sqpollCore, 1);
  assert.equal(kernelOptions({ sqpollCore: null }).sqpollCore, null);
  assert.equal(environmentOptions({ TRAPLESS_RING: '1' }).ring, true);
  assert.equal('ring' in environmentOptions({ TRAPLESS_RING: '' }), false);
});

test('lists of cores', () => {
  assert.deepEqual(parseCores('0'), [0]);
  assert.deepEqual(parseCores(' 2, 0-1 '), [2, 0, 1]);
  for (const text of ['', 'a', '1-', '1,,2', '-1'])
    assert.throws(() => parseCores(text), /a list of cores looks like 1,2-3, not /);
});

test('wrong values are refused, naming the option and its range', () => {
  const cases: [object, RegExp][] = [
    [{ pages: 0 }, /pages must be an integer from 1 to 64, not 0/],
    [{ pages: 65 }, /pages must be an integer from 1 to 64, not 65/],
    [{ pagesMax: 257 }, /pagesMax must be an integer from 1 to 256, not 257/],
    [{ pages: 1.5 }, /pages must be an integer/],
    [{ ringEntries: 32 }, /ringEntries must be an integer from 64 to 32768, not 32/],
    [{ sqpollCore: -1 }, /sqpollCore must be an integer from 0 to 4095, not -1/],
    [{ cores: [5000] }, /cores must be an integer from 0 to 4095, not 5000/],
    [{ order: 'random' }, /order must be one of as-found, grouped, io-first, not random/],
    [{ spinUs: -1 }, /spinUs must be an integer from 0 to 10000, not -1/],
  ];
  for (const [options, message] of cases) assert.throws(() => kernelOptions(options), message);
  process.env.TRAPLESS_SQPOLL = 'x';
  assert.throws(() => kernelOptions({}), /TRAPLESS_SQPOLL must be an integer from 0 to 4095/);
});

test('too few pages for the limit given', () => {
  assert.equal(kernelOptions({ pages: 2, pagesMax: 2 }).pages, 2);
  assert.equal(kernelOptions({ pagesMax: 1 }).pages, 1);
});
