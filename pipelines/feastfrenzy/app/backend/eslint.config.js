import js from '@eslint/js';
import globals from 'globals';

export default [
  { ignores: ['coverage/', '.npm/'] },
  js.configs.recommended,
  {
    languageOptions: { globals: globals.node },
    rules: { eqeqeq: 'error', 'no-var': 'error', 'prefer-const': 'error' },
  },
];
