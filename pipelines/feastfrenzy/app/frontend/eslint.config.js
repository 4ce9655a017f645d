import js from '@eslint/js';
import globals from 'globals';

const rules = { eqeqeq: 'error', 'no-var': 'error', 'prefer-const': 'error' };

export default [
  { ignores: ['coverage/', 'dist/'] },
  js.configs.recommended,
  { files: ['src/**'], languageOptions: { globals: globals.browser }, rules },
  { ignores: ['src/**'], languageOptions: { globals: globals.node }, rules },
];
