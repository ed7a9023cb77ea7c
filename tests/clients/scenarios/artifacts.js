// Contracts as their authors published them.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAbi } from 'viem';

const modules = fileURLToPath(new URL('../node_modules/', import.meta.url));

export function published(file) {
  const { abi, bytecode } = JSON.parse(readFileSync(`${modules}${file}.json`, 'utf8'));
  return { abi, bytecode: bytecode.startsWith('0x') ? bytecode : `0x${bytecode}` };
}

const openZeppelin = (name) => published(`@openzeppelin/contracts-4/build/contracts/${name}`);
const v3 = (name) => published(`@uniswap/v3-periphery/artifacts/contracts/${name}`);
const safe = (name) => published(`@safe-global/safe-contracts/build/artifacts/contracts/${name}`);
const accounts = (name) => published(`@account-abstraction/contracts/artifacts/${name}`);

export const Erc20 = openZeppelin('ERC20PresetMinterPauser');
export const Erc721 = openZeppelin('ERC721PresetMinterPauserAutoId');
export const Erc1155 = openZeppelin('ERC1155PresetMinterPauser');
export const V3Factory = published('@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory');
export const V3Pool = published('@uniswap/v3-core/artifacts/contracts/UniswapV3Pool.sol/UniswapV3Pool');
export const Positions = v3('NonfungiblePositionManager.sol/NonfungiblePositionManager');
export const SwapRouter = v3('SwapRouter.sol/SwapRouter');
export const Quoter = v3('lens/Quoter.sol/Quoter');
export const Safe = safe('Safe.sol/Safe');
export const SafeFactory = safe('proxies/SafeProxyFactory.sol/SafeProxyFactory');
export const SafeFallback = safe('handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler');
export const MultiSend = safe('libraries/MultiSend.sol/MultiSend');
export const EntryPoint = accounts('EntryPoint');
export const AccountFactory = accounts('SimpleAccountFactory');
export const SimpleAccount = accounts('SimpleAccount');
export const Account7702 = accounts('Simple7702Account');

// Ethereum's code, which a constructor of ten bytes returns.
const { code } = JSON.parse(readFileSync(fileURLToPath(new URL('../contracts/Permit2.json', import.meta.url)), 'utf8'));
const length = (code.length / 2 - 1).toString(16).padStart(4, '0');
export const Permit2 = {
  bytecode: `0x61${length}80600a3d393df3${code.slice(2)}`,
  abi: parseAbi([
    'struct TokenPermissions { address token; uint256 amount; }',
    'struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }',
    'struct SignatureTransferDetails { address to; uint256 requestedAmount; }',
    'struct PermitDetails { address token; uint160 amount; uint48 expiration; uint48 nonce; }',
    'struct PermitSingle { PermitDetails details; address spender; uint256 sigDeadline; }',
    'function DOMAIN_SEPARATOR() view returns (bytes32)',
    'function permitTransferFrom(PermitTransferFrom permit, SignatureTransferDetails transferDetails, address owner, bytes signature)',
    'function permit(address owner, PermitSingle permitSingle, bytes signature)',
    'function transferFrom(address from, address to, uint160 amount, address token)',
    'function allowance(address, address, address) view returns (uint160, uint48, uint48)',
    'function nonceBitmap(address, uint256) view returns (uint256)',
    'error InvalidNonce()', 'error InvalidSigner()', 'error SignatureExpired(uint256)', 'error InsufficientAllowance(uint256)',
  ]),
};
