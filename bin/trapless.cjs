#!/usr/bin/env node
'use strict';
// The command line. `run` is handled first and alone: a program started under trapless must not
// pay for the rest of it.
if (process.argv[2] === 'run') require('../dist/start.cjs').run(process.argv.slice(3));
else require('../dist/cli.cjs').main(process.argv.slice(2));
