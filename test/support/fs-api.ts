/**
 * The two ways to have the accelerated functions, on either tier, for test bodies that take what
 * they get:
 *
 *   await runBodies('crew', 'registered');     // every body of test/integration/fs/
 *
 * - own: `trapless/fs`, beside an untouched node:fs
 * - registered: node:fs itself, as `trapless run` and `--import trapless/register` leave it
 *
 * Both leave their mark on the process, so each combination is a test file, hence a process, of
 * its own.
 */
import assert from 'node:assert/strict';
import fs, { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { packageRoot } from '../../src/native/addon.ts';

export type FsModule = typeof fs;
export type TierName = 'ring' | 'crew';
export type FormName = 'own' | 'registered';

export interface Api {
  readonly form: FormName;
  readonly tier: TierName;
  /** Node's functions as they were before. */
  readonly plain: FsModule;
  readonly ours: FsModule;
}

export type Body = (api: Api) => void;

function openApi(tier: TierName, form: FormName): Api {
  process.env.TRAPLESS_RING = tier === 'ring' ? '1' : '0';
  const promises = { ...fs.promises };
  const plain = Object.defineProperties(
    {},
    { ...Object.getOwnPropertyDescriptors(fs), promises: { value: promises, enumerable: true } },
  ) as FsModule;
  const load = createRequire(join(packageRoot(), 'package.json'));
  if (form === 'own') return { form, tier, plain, ours: load('trapless/fs') };
  load('trapless/register');
  return { form, tier, plain, ours: fs };
}

export async function runBodies(tier: TierName, form: FormName): Promise<void> {
  const only = process.env.FS_BODIES?.split(',');
  const api = openApi(tier, form);
  before(() => assertTier(tier));
  const folder = new URL('../integration/fs/', import.meta.url);
  for (const file of readdirSync(folder).sort()) {
    if (only && !only.includes(file.replace('.ts', ''))) continue;
    const { default: body } = (await import(new URL(file, folder).href)) as { default: Body };
    describe(file.replace('.ts', ''), () => body(api));
  }
  test('the tier was the one asked for, to the end', () => assertTier(tier));
}

function assertTier(expected: TierName): void {
  const { tier } = createRequire(join(packageRoot(), 'package.json'))('trapless') as {
    tier(): { name: string; reason: string };
  };
  const { name, reason } = tier();
  assert.equal(name, expected, reason);
}
