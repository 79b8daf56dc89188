/**
 * native/pack.c on the simulated machine: records of getdents64 become a sorted listing, in
 * place.
 *
 *   packListing(block, bytes)       the bytes of struct tl_listing
 */
import { DIRENT64 } from '../../abi/structs.ts';

/** count, text size, whether all of it is ASCII: three u32. */
export const HEAD_SIZE = 12;

export function packListing(block: Buffer, length: number): number {
  const records: { name: string; type: number }[] = [];
  for (let at = 0; at < length; at += block.readUInt16LE(at + DIRENT64.reclen)) {
    const start = at + DIRENT64.name;
    const name = block.toString('latin1', start, block.indexOf(0, start));
    if (name !== '.' && name !== '..') records.push({ name, type: block[at + DIRENT64.type] });
  }
  records.sort((a, b) => (a.name < b.name ? -1 : 1));
  const text = Buffer.from(records.map(({ name }) => name).join('\0'), 'latin1');
  block.writeUInt32LE(records.length, 0);
  block.writeUInt32LE(text.length, 4);
  block.writeUInt32LE(text.every((byte) => byte < 128) ? 1 : 0, 8);
  block.set(
    Uint8Array.from(records, ({ type }) => type),
    HEAD_SIZE,
  );
  text.copy(block, HEAD_SIZE + records.length);
  return HEAD_SIZE + records.length + text.length;
}
