import js from '@eslint/js';
import jupyter from '@jupyter/eslint-plugin';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['lib', 'node_modules', 'pkg', 'data', 'target', '.build', 'src-ts/generated', '**/*.cjs'] },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  {
    files: ['src-ts/**/*.ts'],
    plugins: { jupyter },
    languageOptions: { parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      ...jupyter.configs.recommended[0].rules,
      // All of it together is 60 kB; what is big, the WASM, is loaded when a notebook is opened.
      'jupyter/prefer-lazy-imports': 'off',
      // It does not see that widgets are handed on inside arrays and maps.
      'jupyter/require-disposable-ownership': 'off',
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-namespace': 'off',
      eqeqeq: 'error'
    }
  },
  {
    files: ['ui-tests/**/*.ts', 'bench/ui/**/*.ts'],
    rules: { '@typescript-eslint/no-explicit-any': 'off', '@typescript-eslint/no-require-imports': 'off' }
  }
);
