/**
 * Does our request parser make of any bytes what Node's does, and the same however they are cut?
 * Method: Node's own parser (llhttp) reads the same pieces; what comes out must be equal in every
 * method, url, header, body, trailer, and in the error that ends it. A failure means that two
 * parties could disagree on where a request ends.
 */
import { test } from 'node:test';
import fc from 'fast-check';
import { assertSame, nodes, oracleFits, oracleVersion, ours } from '../support/http-oracle.ts';
import { connections } from '../support/http-requests.ts';
import { holds } from '../support/property.ts';

const file = 'test/property/http-parser.test.ts';
const skip = oracleFits ? false : `the oracle is llhttp 9.3, not ${oracleVersion}`;

test('any bytes are to us what they are to llhttp', { skip }, async () => {
  const options = fc.record({
    upgrades: fc.boolean(),
    maxHeaderSize: fc.constantFrom(16384, 16384, 60, 90),
  });
  const property = fc.asyncProperty(connections, options, async ({ whole, pieces }, chosen) => {
    assertSame(ours([whole], chosen), nodes([whole], chosen));
    assertSame(ours(pieces, chosen), nodes(pieces, chosen));
  });
  await holds('any bytes are to us what they are to llhttp', 20_000, property, file);
});
