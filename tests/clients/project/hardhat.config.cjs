// Hardhat 2 with the solc package as its compiler: nothing is downloaded. The chain and the key come from the environment.
const { subtask } = require('hardhat/config');
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require('hardhat/builtin-tasks/task-names');
require('@nomicfoundation/hardhat-ethers');
require('@nomicfoundation/hardhat-viem');

const { version } = require('solc/package.json');

subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async () => ({
  compilerPath: require.resolve('solc/soljson.js'), isSolcJs: true, version, longVersion: version,
}));

const cache = `${__dirname}/../node_modules/.cache/hardhat`;
module.exports = {
  solidity: { version, settings: { optimizer: { enabled: true, runs: 200 }, evmVersion: 'osaka', metadata: { bytecodeHash: 'none' } } },
  paths: { sources: `${__dirname}/src`, tests: `${__dirname}/hardhat`, artifacts: `${cache}/artifacts`, cache: `${cache}/cache` },
  defaultNetwork: 'node',
  networks: { node: { url: process.env.NODE_URL ?? 'http://127.0.0.1:9545', accounts: process.env.NODE_KEY ? [process.env.NODE_KEY] : [] } },
  mocha: { timeout: 60_000 },
};
