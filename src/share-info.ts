/**
 * trapless/share-info: what a guest knows of its vCPU. The hypervisor writes it, guests read it.
 */
export { SHARE_INFO, VCPU_STATE } from './abi/share-info.ts';
export { ShareInfo } from './share-info/share-info.ts';
export { freeVcpu, monotonicNs, type Vcpu } from './share-info/vcpu.ts';
