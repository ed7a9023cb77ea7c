import { eip7702, erc4337 } from './accounts.js';
import { multicall, permit2, types } from './plain.js';
import { safe } from './safe.js';
import { erc1155, erc20, erc721, permits } from './tokens.js';
import { uniswapV2, uniswapV3 } from './uniswap.js';

export const SCENARIOS = {
  erc20, permits, erc721, erc1155, uniswapV2, uniswapV3, safe, multicall, erc4337, permit2, eip7702, types,
};
