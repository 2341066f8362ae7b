// Unit tests of the front end: real cells, the real WASM. `jlpm test`.
const esm = [
  '@codemirror',
  '@jupyter/',
  '@jupyterlab/',
  '@lezer',
  '@marijn',
  '@microsoft/',
  '@rjsf',
  'crelt',
  'delegates',
  'exenv-es6',
  'lib0',
  'nanoid',
  'style-mod',
  'vscode-ws-jsonrpc',
  'w3c-keyname',
  'y-protocols',
  'y-websocket',
  'yjs'
].join('|');
const base = require('@jupyterlab/testutils/lib/jest-config')(__dirname);

module.exports = {
  ...base,
  automock: false,
  reporters: ['default'],
  collectCoverage: false,
  rootDir: __dirname,
  roots: ['<rootDir>/src-ts'],
  testRegex: 'src-ts/.*\\.spec\\.ts$',
  transform: { ...base.transform, '\\.tsx?$': ['ts-jest', { tsconfig: 'tsconfig.test.json' }] },
  transformIgnorePatterns: [`/node_modules/(?!(${esm}).*)`],
  modulePathIgnorePatterns: ['<rootDir>/data/', '<rootDir>/lib/', '<rootDir>/ui-tests/', '<rootDir>/target/', '<rootDir>/.build/']
};
