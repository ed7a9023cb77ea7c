// Uniswap v2 and v3 as published: their oracles see the time, so every transaction has a second of its own.
import { encodeFunctionData, keccak256 } from 'viem';
import { Factory, Pair, Router, Token, Weth } from '../lib/contracts.js';
import { Positions, Quoter, SwapRouter, V3Factory, V3Pool } from './artifacts.js';
import { DEADLINE } from './tokens.js';

const ETHER = 10n ** 18n;
const FEE = 3_000;

async function twoTokens(t, spender) {
  const tokens = [];
  for (const name of ['ONE', 'TWO']) tokens.push(await t.deploy(name, Token, [name, name, 1_000_000n * ETHER]));
  for (const token of tokens) await t.send(`approve ${token.address}`, token, 'approve', [spender.address, 1_000_000n * ETHER]);
  return tokens.sort((a, b) => (BigInt(a.address) < BigInt(b.address) ? -1 : 1));
}

export async function uniswapV2(t) {
  const { me } = t;
  const weth = await t.deploy('weth', Weth);
  const factory = await t.deploy('factory', Factory, [me]);
  const router = await t.deploy('router', Router, [factory.address, weth.address]);
  const [one, two] = await twoTokens(t, router);
  const path = [one.address, two.address];
  await t.send('create the pair', factory, 'createPair', path);
  await t.fails('create it again', factory, 'createPair', path);
  const pair = { address: await t.read('pair', factory, 'getPair', path), abi: Pair.abi };
  t.freeStorage(pair);
  t.tick();
  await t.send('add liquidity', router, 'addLiquidity', [...path, 1_000n * ETHER, 4_000n * ETHER, 0n, 0n, me, DEADLINE]);
  await t.read('quote', router, 'getAmountsOut', [10n * ETHER, path]);
  await t.send('swap', router, 'swapExactTokensForTokens', [10n * ETHER, 1n, path, me, DEADLINE]);
  await t.send('swap back for an exact amount', router, 'swapTokensForExactTokens', [ETHER, 10n * ETHER, [...path].reverse(), me, DEADLINE]);
  await t.fails('swap for too much', router, 'swapExactTokensForTokens', [ETHER, 1_000n * ETHER, path, me, DEADLINE]);
  await t.fails('swap too late', router, 'swapExactTokensForTokens', [ETHER, 1n, path, me, 1n]);
  await t.fails('swap past the router', pair, 'swap', [1n, 0n, me, '0x']);
  await t.send('approve the pair', pair, 'approve', [router.address, 10_000n * ETHER]);
  await t.send('remove liquidity', router, 'removeLiquidity', [...path, 500n * ETHER, 0n, 0n, me, DEADLINE]);
  await t.read('liquidity', pair, 'balanceOf', [me]);
  await t.read('product', pair, 'kLast');
}

export async function uniswapV3(t) {
  const { me } = t;
  const weth = await t.deploy('weth', Weth);
  const factory = await t.deploy('factory', V3Factory);
  t.same('code of the pool', keccak256(V3Pool.bytecode));
  const positions = await t.deploy('positions', Positions, [factory.address, weth.address, weth.address]);
  const router = await t.deploy('router', SwapRouter, [factory.address, weth.address]);
  const quoter = await t.deploy('quoter', Quoter, [factory.address, weth.address]);
  const [one, two] = await twoTokens(t, positions);
  for (const token of [one, two]) await t.send(`approve the router for ${token.address}`, token, 'approve', [router.address, 10_000n * ETHER]);
  const key = [one.address, two.address, FEE];
  t.tick();
  await t.send('create the pool', positions, 'createAndInitializePoolIfNecessary', [...key, 2n ** 96n]);
  const pool = { address: await t.read('pool', factory, 'getPool', key), abi: V3Pool.abi };
  t.freeStorage(pool);
  await t.send('mint', positions, 'mint', [{
    token0: one.address, token1: two.address, fee: FEE, tickLower: -60_000, tickUpper: 60_000, amount0Desired: 1_000n * ETHER,
    amount1Desired: 1_000n * ETHER, amount0Min: 0n, amount1Min: 0n, recipient: me, deadline: DEADLINE,
  }]);
  await t.read('quote', quoter, 'quoteExactInputSingle', [...key, ETHER, 0n]);
  const swap = { tokenIn: one.address, tokenOut: two.address, fee: FEE, recipient: me, deadline: DEADLINE, sqrtPriceLimitX96: 0n };
  await t.send('swap', router, 'exactInputSingle', [{ ...swap, amountIn: ETHER, amountOutMinimum: 0n }]);
  await t.send('swap for an exact amount', router, 'exactOutputSingle', [{
    ...swap, tokenIn: two.address, tokenOut: one.address, amountOut: 20n * ETHER, amountInMaximum: 100n * ETHER,
  }]);
  await t.fails('swap for too much', router, 'exactInputSingle', [{ ...swap, amountIn: ETHER, amountOutMinimum: 2n * ETHER }]);
  await t.send('more observations', pool, 'increaseObservationCardinalityNext', [4]);
  const tokenId = 1n;
  const max = 2n ** 128n - 1n;
  const data = [
    ['decreaseLiquidity', [{ tokenId, liquidity: 500n * ETHER, amount0Min: 0n, amount1Min: 0n, deadline: DEADLINE }]],
    ['collect', [{ tokenId, recipient: me, amount0Max: max, amount1Max: max }]],
  ].map(([functionName, args]) => encodeFunctionData({ abi: positions.abi, functionName, args }));
  await t.send('take liquidity and fees out', positions, 'multicall', [data]);
  await t.fails('burn what is not empty', positions, 'burn', [tokenId]);
  await t.read('position', positions, 'positions', [tokenId]);
  await t.read('slot0', pool, 'slot0');
  const liquidity = await t.read('liquidity', pool, 'liquidity');
  await t.send('take all out', positions, 'multicall', [[
    encodeFunctionData({
      abi: positions.abi, functionName: 'decreaseLiquidity',
      args: [{ tokenId, liquidity: BigInt(liquidity), amount0Min: 0n, amount1Min: 0n, deadline: DEADLINE }],
    }),
    data[1],
    encodeFunctionData({ abi: positions.abi, functionName: 'burn', args: [tokenId] }),
  ]]);
}
