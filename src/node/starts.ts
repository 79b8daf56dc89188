/** All starts (starts/start.ts), by the name of the function of node:fs that they are for. */
export * from './starts/descriptors.ts';
export * from './starts/directories.ts';
export * from './starts/files.ts';
export * from './starts/paths.ts';
export * from './starts/start.ts';
export * from './starts/stats.ts';
