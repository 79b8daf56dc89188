/** What was written in the last turn leaves though the program ends at once. */
import { Kernel } from '../../../../src/kernel/kernel.ts';
import { connect } from '../../../../src/sockets/index.ts';

const kernel = Kernel.register({ ring: process.argv[2] === 'ring' });
const how = process.argv[4];
let answers = 0;
connect(
  kernel,
  { port: Number(process.argv[3]) },
  {
    onBytes(c) {
      // The first answer's send is still to be delivered as complete: the second waits for it.
      c.write(`first ${++answers} `);
      c.write('second ');
      process.nextTick(() => {
        c.write('third');
        if (how === 'exit') process.exit(0);
        throw new Error('the end');
      });
    },
  },
);
