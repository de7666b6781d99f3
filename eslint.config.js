import tseslint from 'typescript-eslint';

// Type-aware rules that catch lost promises and forgotten cases; sizes as in the house rules (ARCHITECTURE.md).
export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', '**/generated/**', 'native-engine/build*/**'] },
  ...tseslint.configs.recommended,
  {
    files: ['apps/**/*.ts', 'libs/**/*.ts', 'native-engine/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none' }],
      '@typescript-eslint/no-explicit-any': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
      'max-lines': ['error', { max: 320 }],
      'max-lines-per-function': ['error', { max: 90 }],
    },
  },
  { files: ['apps/cli/**/*.ts', '**/bench/**/*.ts', '**/*.bench.ts', '**/test/**/*.ts'], rules: { 'no-console': 'off' } },
  {
    files: ['**/*.test.ts', '**/test/**/*.ts', '**/contract/**/*.ts', '**/testing/**/*.ts'],
    rules: { 'max-lines': 'off', 'max-lines-per-function': 'off' },
  },
);
