// The contracts that every client deploys: OpenZeppelin's ERC-20, compiled here, and Uniswap v2 as its authors published it.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('..', import.meta.url));
const modules = `${folder}node_modules/`;

function compileToken() {
  const solc = createRequire(import.meta.url)('solc');
  const input = {
    language: 'Solidity',
    sources: { 'Token.sol': { content: readFileSync(`${folder}contracts/Token.sol`, 'utf8') } },
    settings: {
      optimizer: { enabled: true, runs: 200 },
      evmVersion: 'osaka',
      outputSelection: { '*': { Token: ['abi', 'evm.bytecode.object'] } },
    },
  };
  const read = (file) => ({ contents: readFileSync(modules + file, 'utf8') });
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
  const failed = (output.errors ?? []).filter((error) => error.severity === 'error');
  if (failed.length > 0) throw new Error(failed.map((error) => error.formattedMessage).join('\n'));
  const { abi, evm } = output.contracts['Token.sol'].Token;
  return { abi, bytecode: `0x${evm.bytecode.object}` };
}

// The compiler takes seconds, so its output is kept beside the packages, under a name that depends on what went in.
function token() {
  const hash = createHash('sha256');
  for (const file of ['contracts/Token.sol', 'package-lock.json', 'lib/contracts.js']) {
    hash.update(readFileSync(folder + file));
  }
  const cached = `${modules}.cache/token-${hash.digest('hex')}.json`;
  if (!existsSync(cached)) {
    mkdirSync(`${modules}.cache`, { recursive: true });
    writeFileSync(`${cached}.${process.pid}`, JSON.stringify(compileToken()));
    renameSync(`${cached}.${process.pid}`, cached);
  }
  return JSON.parse(readFileSync(cached, 'utf8'));
}

function published(file) {
  const { abi, bytecode } = JSON.parse(readFileSync(`${modules}@uniswap/${file}.json`, 'utf8'));
  return { abi, bytecode: `0x${bytecode}` };
}

export const Token = token();
export const Factory = published('v2-core/build/UniswapV2Factory');
export const Pair = published('v2-core/build/UniswapV2Pair');
export const Router = published('v2-periphery/build/UniswapV2Router02');
export const Weth = published('v2-periphery/build/WETH9');
