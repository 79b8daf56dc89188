/**
 * The end of a connection in every order (programs/half-close.mjs): 384 cases, both sides, under
 * register and with trapless/net. Plain Node is the oracle, event for event, except for what is chance
 * there, too:
 *
 *   much data, ended in order        when the last byte has left, and when the other's has come
 *   much data, given up half-way     how much arrives, and whether a reset or an end is seen first;
 *                                    here only what must hold in any case
 *
 * and for one thing that trapless does otherwise: a write is called back when it is queued. That a
 * Unix socket's peer is gone is told by the 'error' that follows, as with TCP.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, registerMjs, root } from '../support/execute.ts';

interface Seen {
  readonly log: readonly string[];
  readonly flags: object;
  readonly received?: number;
}
type Outcome = Readonly<Record<string, { readonly client: Seen; readonly server: Seen }>>;

const PROGRAM = join(root, 'test', 'faults', 'programs', 'half-close.mjs');
const OWN = join(root, 'dist', 'net.mjs');

async function run(options: readonly string[], name: string, env: NodeJS.ProcessEnv) {
  const result = await execute([...options, PROGRAM, name], { env, timeoutMs: 240_000 });
  assert.equal(result.code, 0, result.stderr);
  return JSON.parse(result.stdout.trimEnd().split('\n').at(-1)!) as {
    value: Outcome;
    held: unknown;
  };
}

/** What two runs on plain Node may differ in is all the same. */
function comparable(name: string, { log, ...rest }: Seen): unknown {
  const told = log.map((event) => (event === 'written EPIPE' ? 'written ' : event));
  if (!name.includes(' end ') || !name.endsWith(' many')) return { log: told, ...rest };
  // Nor is the other direction's state certain then.
  return {
    log: told
      .map((event) => event.replace(/^(end|finish) .*Only$|^(end|finish) closed$/, '$1$2'))
      .sort(),
    ...rest,
  };
}

const isChance = (name: string) => name.endsWith(' many') && !name.includes(' end ');

function holdsAnyway(name: string, { log }: Seen): void {
  const told = `${name}: ${log}`;
  const errors = log.filter((event) => event.startsWith('error '));
  for (const error of errors) assert.match(error, /^error (ECONNRESET|EPIPE) (read|write) /, told);
  assert.equal(log.at(-1), `close ${errors.length > 0}`, told);
  assert.equal(log.filter((event) => event.startsWith('close')).length, 1, told);
  assert.ok(
    errors.length <= 1 && !log.includes('other bytes') && !log.includes('still open'),
    told,
  );
}

const plain = Promise.all([1, 2].map(() => run([], 'node:net', {})));

for (const [how, options, name] of [
  ['register', ['--import', registerMjs], 'node:net'],
  ['trapless/net', [], OWN],
] as const)
  for (const ring of ['1', '0'])
    test(`ends of connections: ${how} [${ring === '1' ? 'ring' : 'crew'}]`, async () => {
      const oracles = (await plain).map(({ value }) => value);
      const { value, held } = await run(options, name, { TRAPLESS_RING: ring });
      const names = Object.keys(oracles[0]);
      assert.equal(names.length, 384);
      assert.deepEqual(Object.keys(value).sort(), names.sort());
      for (const one of names)
        for (const side of ['client', 'server'] as const) {
          const ours = value[one][side];
          if (isChance(one)) {
            holdsAnyway(one, ours);
            continue;
          }
          const seen = JSON.stringify(comparable(one, ours));
          const known = oracles.map((oracle) => JSON.stringify(comparable(one, oracle[one][side])));
          if (!known.includes(seen)) assert.equal(seen, known[0], `${one}: ${side}`);
        }
      assert.deepEqual(held, { entriesInUse: 0, blocks: 0, inFlight: 0 });
    });
