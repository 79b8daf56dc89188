/**
 * Workers as vCPUs of a hypervisor: are they preempted and scheduled as asked, do hypercalls work,
 * is share_info read-only, and does the rest go on when one ends, throws or is terminated?
 *
 * Each test is a program of its own (test/support/run-program.ts), the same file in every thread.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadAddon } from '../../src/native/addon.ts';
import { runProgram } from '../support/run-program.ts';

const { reason } = loadAddon();

/**
 * `main` runs in the main thread, `guest` in every worker that `spawn` makes. `words` is memory
 * shared by all: [0] stop, [1] how many joined, from [8] a run counter per vCPU.
 */
function program(options: string, main: string, guest: string): string {
  return `
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { Hypervisor, joinHypervisor } from '#src/hypervisor.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what: () => boolean) {
  while (!what()) await sleep(2);
}
const memory = isMainThread ? new SharedArrayBuffer(1024) : workerData.memory;
const words = new Int32Array(memory);

async function main() {
  const hypervisor = Hypervisor.start(${options});
  const { ticket } = hypervisor;
  const spawn = (vm: number, index: number, role = '') => {
    const worker = new Worker(fileURLToPath(import.meta.url), {
      workerData: { ticket, vm, index, role, memory },
    });
    const ended = new Promise<string>((resolve) => {
      let failure = '';
      worker.on('error', (error) => { failure = error.message; });
      worker.on('exit', (code) => resolve(failure || String(code)));
    });
    return { worker, ended };
  };
  const threads = () => readdirSync('/proc/self/task')
    .filter((id) => readFileSync('/proc/self/task/' + id + '/comm', 'utf8') === 'trapless-hv\\n').length;
  ${main}
}

function guest() {
  const { role } = workerData;
  const vcpu = joinHypervisor(workerData.ticket, workerData.vm, workerData.index);
  Atomics.add(words, 1, 1);
  const spin = () => {
    while (Atomics.load(words, 0) === 0) Atomics.add(words, 8 + vcpu.id, 1);
  };
  ${guest}
}

if (isMainThread) main();
else guest();
`;
}

async function run(options: string, main: string, guest: string): Promise<readonly string[]> {
  const { code, lines, stderr } = await runProgram(program(options, main, guest));
  assert.equal(code, 0, stderr);
  return lines;
}

describe('hypervisor', { skip: reason }, () => {
  test('preempts workers at will, and gives each as many quanta', async () => {
    const [line] = await run(
      `{ pcpus: 1, scheduler: 'round-robin', sliceUs: 1000, vms: [{ vcpus: 2 }, { vcpus: 1 }] }`,
      `
      const all = [spawn(0, 0), spawn(0, 1), spawn(1, 0)];
      await until(() => words[1] === 3);
      const before = [0, 1, 2].map((id) => hypervisor.shareInfo.switches(id));
      await until(() => hypervisor.shareInfo.switches(0) >= before[0] + 50);
      const after = [0, 1, 2].map((id) => hypervisor.shareInfo.switches(id) - before[id]);
      Atomics.store(words, 0, 1);
      await Promise.all(all.map(({ ended }) => ended));
      hypervisor.stop();
      console.log(JSON.stringify({ after, counters: [...words.slice(8, 11)], stats: hypervisor.stats() }));
      `,
      `spin(); vcpu.leave();`,
    );
    const { after, counters, stats } = JSON.parse(line);
    for (const switches of after) assert.ok(Math.abs(switches - after[0]) <= 5, `${after}`);
    for (const counter of counters) assert.ok(counter > 0);
    assert.ok(stats.preemptions >= 140);
    assert.equal(stats.early, 0);
    assert.deepEqual(
      stats.vcpus.map((vcpu: { vm: number; index: number }) => [vcpu.vm, vcpu.index]),
      [
        [0, 0],
        [0, 1],
        [1, 0],
      ],
    );
  });

  test('a guest that writes to share_info dies', async () => {
    const options = `{ vms: [{ vcpus: 1 }] }`;
    const write = (who: string) => `
      const { memory } = ${who};
      console.log('writes');
      new Uint8Array(memory)[0] = 1;
      console.log('survived');
    `;
    const inMain = await runProgram(program(options, write('hypervisor.shareInfo'), ''));
    assert.deepEqual([inMain.signal, inMain.lines], ['SIGSEGV', ['writes']]);
    const main = 'await spawn(0, 0).ended;';
    const inGuest = await runProgram(program(options, main, write('vcpu.info')));
    assert.deepEqual([inGuest.signal, inGuest.lines.includes('survived')], ['SIGSEGV', false]);
  });

  test('halt and kick: two vCPUs play ping-pong, and no kick is lost', async () => {
    for (const scheduler of ['round-robin', 'credit', 'gang'])
      for (const pcpus of [1, 2]) {
        const lines = await run(
          `{ pcpus: ${pcpus}, scheduler: '${scheduler}', vms: [{ vcpus: 2 }] }`,
          `
          await Promise.all([spawn(0, 0).ended, spawn(0, 1).ended]);
          console.log(words[2]);
          hypervisor.stop();
          `,
          `
          for (let i = 0; i < 1000; i++) { vcpu.kick(vcpu.id); vcpu.halt(); }
          for (let i = 0; i < 300; i++) {
            while (Atomics.load(words, 2) % 2 !== vcpu.id) vcpu.halt();
            Atomics.add(words, 2, 1);
            vcpu.kick(1 - vcpu.id);
          }
          vcpu.leave();
          `,
        );
        assert.deepEqual(lines, ['600'], `${scheduler}, ${pcpus} pCPUs`);
      }
  });

  test('yield begins a new quantum; blocking() gives the pCPU up', async () => {
    const lines = await run(
      `{ pcpus: 1, scheduler: 'round-robin', sliceUs: 100_000, vms: [{ vcpus: 2 }] }`,
      `
      const all = [spawn(0, 0, 'yields'), spawn(0, 1, 'waits')];
      console.log((await Promise.all(all.map(({ ended }) => ended))).join());
      hypervisor.stop();
      `,
      `
      if (role === 'yields') {
        let same = 0;
        for (let i = 0; i < 200; i++) {
          const before = vcpu.info.sliceId(vcpu.id);
          vcpu.yield();
          if (vcpu.info.sliceId(vcpu.id) === before) same++;
        }
        console.log('same quantum', same);
        Atomics.store(words, 2, 1);
        Atomics.notify(words, 2);
      } else console.log(vcpu.blocking(() => Atomics.wait(words, 2, 0)) !== 'timed-out');
      const { running, pcpus } = vcpu.schedInfo();
      if (running > pcpus) console.log('more running than pCPUs', running);
      vcpu.leave();
      `,
    );
    assert.deepEqual([...lines].sort(), ['0,0', 'same quantum 0', 'true']);
  });

  test('a vCPU that is terminated, throws or just ends leaves the rest running', async () => {
    const lines = await run(
      `{ pcpus: 1, scheduler: 'round-robin', sliceUs: 5000, vms: [{ vcpus: 5 }] }`,
      `
      const victim = spawn(0, 0);
      const thrower = spawn(0, 1, 'throws');
      const ender = spawn(0, 2, 'ends');
      const halted = spawn(0, 3, 'halts');
      const witness = spawn(0, 4);
      await until(() => words[1] === 5);
      console.log('thrown:', await thrower.ended, 'ended:', await ender.ended);
      const { shareInfo } = hypervisor;
      await until(() => shareInfo.state(0) === 2); // preempted
      await Promise.all([victim.worker.terminate(), halted.worker.terminate()]);
      console.log('terminated');
      const before = words[12];
      await until(() => words[12] !== before);
      console.log([0, 1, 2, 3].map((id) => hypervisor.stats().vcpus[id].state).join());
      Atomics.store(words, 0, 1);
      console.log(await witness.ended);
      hypervisor.stop();
      `,
      `
      if (role === 'throws') throw new Error('of a vCPU');
      if (role === 'halts') for (;;) vcpu.halt();
      if (role !== 'ends') spin();
      `,
    );
    assert.deepEqual(lines, ['thrown: of a vCPU ended: 0', 'terminated', '4,4,4,4', '0']);
  });

  test('stop() sets everybody free and leaves nothing behind', async () => {
    const lines = await run(
      `{ pcpus: 1, sliceUs: 1000, vms: [{ vcpus: 3 }] }`,
      `
      const all = [spawn(0, 0), spawn(0, 1), spawn(0, 2, 'halts')];
      await until(() => words[1] === 3);
      console.log('threads', threads());
      const descriptors = () => readdirSync('/proc/self/fd').length;
      const open = descriptors();
      hypervisor.stop();
      hypervisor.stop();
      console.log('threads', threads(), 'descriptors', descriptors() - open);
      for (const id of [0, 1]) {
        const before = words[8 + id];
        await until(() => words[8 + id] !== before);
      }
      Atomics.store(words, 0, 1);
      console.log((await Promise.all(all.map(({ ended }) => ended))).join());
      await sleep(20); // mappings end with the environments
      const maps = readFileSync('/proc/self/maps', 'utf8');
      console.log('mappings', maps.split('trapless-share-info').length - 1);
      console.log(hypervisor.stats().vcpus.length, hypervisor.shareInfo.sliceId(0) > 0);
      try {
        joinHypervisor(ticket, 0, 0);
      } catch (error) {
        console.log((error as Error).message);
      }
      `,
      `
      if (role === 'halts') while (Atomics.load(words, 0) === 0) vcpu.halt();
      else spin();
      vcpu.leave();
      if (vcpu.info.sliceId(vcpu.id) === 0) console.log('no numbers after leaving');
      `,
    );
    assert.deepEqual(lines, [
      'threads 1',
      'threads 0 descriptors -1',
      '0,0,0',
      'mappings 0',
      '3 true',
      "trapless: this hypervisor was stopped, or is another process's",
    ]);
  });

  test('process.exit() ends a program whose vCPUs are preempted and halted', async () => {
    await run(
      `{ pcpus: 1, vms: [{ vcpus: 4 }] }`,
      `
      for (let i = 0; i < 4; i++) spawn(0, i, i === 0 ? 'halts' : '');
      await until(() => words[1] === 4);
      process.exit(0);
      `,
      `
      if (role === 'halts') for (;;) vcpu.halt();
      spin();
      `,
    );
  });

  test('joining twice, or as nobody, is refused', async () => {
    const lines = await run(
      `{ vms: [{ vcpus: 1 }] }`,
      `
      const first = spawn(0, 0);
      await until(() => words[1] === 1);
      console.log(await spawn(0, 0).ended);
      console.log(await spawn(0, 1).ended);
      console.log(await spawn(1, 0).ended);
      Atomics.store(words, 0, 1);
      await first.ended;
      hypervisor.stop();
      `,
      `spin(); vcpu.leave();`,
    );
    assert.deepEqual(lines, [
      'trapless: cannot join as this vCPU: Device or resource busy',
      'trapless: no vCPU 1 of 1 in VM 0',
      'trapless: no VM 1 of 1',
    ]);
  });
});
