/**
 * trapless/locks: the spinlocks of virtual machines, those that know when they will be preempted
 * (I-Spinlock, EuroSys 2017) and those they are compared with, on shared memory.
 *
 *   import { LOCKS, freeVcpu, wordsOf } from 'trapless/locks';
 *
 *   const memory = new Int32Array(new SharedArrayBuffer(4 * wordsOf(LOCKS.mcs, 8)));
 *   const lock = LOCKS.mcs.create(memory, freeVcpu(index, 8));   // in each of 8 workers
 */
export * from './locks/index.ts';
export { freeVcpu, type Vcpu } from './share-info/vcpu.ts';
