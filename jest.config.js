// Jest runs what ships: the compiled tests in dist/ (native ES modules, hence --experimental-vm-modules).
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/dist'],
  testMatch: ['**/*.test.js'],
  transform: {},
  testTimeout: 30_000,
  maxWorkers: 2,
};
