// Jest runs what ships: the compiled tests in dist/.
import { availableParallelism } from 'node:os';

export default {
  runtime: '<rootDir>/scripts/jest/runtime.cjs',
  testEnvironment: '<rootDir>/scripts/jest/environment.cjs',
  testSequencer: '<rootDir>/scripts/jest/sequencer.cjs',
  roots: ['<rootDir>/dist/apps', '<rootDir>/dist/libs', '<rootDir>/dist/native-engine'], // not dist/bundles
  testMatch: ['**/*.test.js'],
  transform: {},
  testTimeout: 600_000, // ends a test that hangs, but not a slow one
  maxWorkers: Math.ceil(1.5 * availableParallelism()), // tests of whole servers wait most of their time
};
