import tseslint from 'typescript-eslint';

// Type-aware rules that catch lost promises and forgotten cases; sizes as in the house rules (ARCHITECTURE.md).
export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', '**/generated/**', 'native-engine/build*/**', 'apps/dashboard/vite.config.js'] },
  ...tseslint.configs.strictTypeChecked,
  {
    files: ['apps/**/*.{ts,tsx}', 'libs/**/*.ts', 'native-engine/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true }],
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      // Off, and why:
      // An index, a map's value and a message's field are all possibly undefined to the compiler (noUncheckedIndexedAccess, proto3).
      // Where the code before has made sure of them, `!` says so in one character.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // The compiler keeps what it knows of a flag over an await, though another callback may have set it meanwhile.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // A method of a gRPC client is handed over with its client: call(client, client.method, request).
      '@typescript-eslint/unbound-method': 'off',
      // Nest's option types are classes, and literals fill them.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      // An interface that asks for a promise or an async iterable also has implementations that need not wait.
      '@typescript-eslint/require-await': 'off',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
      'max-lines': ['error', { max: 320 }],
      'max-lines-per-function': ['error', { max: 90 }],
    },
  },
  { files: ['apps/cli/**/*.ts', '**/bench/**/*.ts', '**/*.bench.ts', '**/test/**/*.ts'], rules: { 'no-console': 'off' } },
  {
    files: ['**/*.test.ts', '**/test/**/*.ts', '**/contract/**/*.ts', '**/testing/**/*.ts'],
    rules: {
      'max-lines': 'off',
      'max-lines-per-function': 'off',
      // Jest's matchers (expect.objectContaining) and JSON.parse are `any`; what they are compared with has its type.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      // Tests send values that no enum knows.
      '@typescript-eslint/no-unsafe-enum-assignment': 'off',
    },
  },
);
