/**
 * Hypervisor and share_info as one bundle (dist/vcpus.cjs), apart from the runtime: programs that
 * only want fast file I/O never load it.
 */
export * as hypervisor from './hypervisor.ts';
export * as locks from './locks.ts';
export * as shareInfo from './share-info.ts';
