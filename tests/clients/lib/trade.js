// Two ERC-20s and a Uniswap v2 market, made and traded on through whichever client is handed in:
// `{address, gas, deploy(artifact, args), send(contract, name, args, options), read(contract, name, args), refusal(…)}`; `gas` is the
// limit of calls, undefined for an estimate.
import assert from 'node:assert/strict';
import { Factory, Pair, Router, Token, Weth } from './contracts.js';
import { outcome } from './run.js';

const ETHER = 10n ** 18n;
// 2100: no chain here gets there.
const DEADLINE = 4_102_444_800n;

export async function trade(client) {
  const observed = {};
  const note = (name, receipt) => {
    observed[name] = outcome(receipt);
    assert.ok(observed[name].succeeded, `${name} failed`);
  };
  const deploy = async (name, artifact, args) => {
    const { address, receipt } = await client.deploy(artifact, args);
    note(`deploy ${name}`, receipt);
    return { address, abi: artifact.abi };
  };

  const one = await deploy('one', Token, ['First Token', 'ONE', 1_000_000n * ETHER]);
  const two = await deploy('two', Token, ['Second Token', 'TWO', 1_000_000n * ETHER]);
  const weth = await deploy('weth', Weth, []);
  const factory = await deploy('factory', Factory, [client.address]);
  const router = await deploy('router', Router, [factory.address, weth.address]);
  const send = async (name, contract, method, args, options) => {
    note(name, await client.send(contract, method, args, { gas: client.gas, ...options }));
  };

  await send('transfer', one, 'transfer', ['0x00000000000000000000000000000000000000b0', 5n * ETHER]);
  for (const [name, token] of [['one', one], ['two', two]]) {
    await send(`approve ${name}`, token, 'approve', [router.address, 1_000_000n * ETHER]);
  }
  const me = client.address;
  await send('add liquidity', router, 'addLiquidity',
    [one.address, two.address, 1_000n * ETHER, 4_000n * ETHER, 0n, 0n, me, DEADLINE]);
  await send('add ether', router, 'addLiquidityETH',
    [one.address, 500n * ETHER, 0n, 0n, me, DEADLINE], { value: ETHER / 100n });

  const path = [one.address, two.address];
  observed.quote = await client.read(router, 'getAmountsOut', [10n * ETHER, path]);
  await send('swap', router, 'swapExactTokensForTokens', [10n * ETHER, 1n, path, me, DEADLINE]);
  await send('buy with ether', router, 'swapExactETHForTokens',
    [1n, [weth.address, one.address], me, DEADLINE], { value: ETHER / 1000n });
  await send('sell for exact ether', router, 'swapTokensForExactETH',
    [ETHER / 2000n, 1_000n * ETHER, [one.address, weth.address], me, DEADLINE]);

  const pair = { address: (await client.read(factory, 'getPair', path))[0], abi: Pair.abi };
  // Uniswap's router computes the pair's address instead of asking: both must have agreed for the swaps to work.
  const [first] = await client.read(pair, 'token0', []);
  const reserves = await client.read(pair, 'getReserves', []);
  const [oneReserve, twoReserve] = String(first).toLowerCase() === one.address.toLowerCase()
    ? [reserves[0], reserves[1]] : [reserves[1], reserves[0]];
  assert.equal(BigInt(oneReserve), 1_010n * ETHER);
  observed.reserves = [oneReserve, twoReserve];
  assert.equal(BigInt(twoReserve), 4_000n * ETHER - BigInt(observed.quote[0][1]));

  const [liquidity] = await client.read(pair, 'balanceOf', [me]);
  await send('approve pair', pair, 'approve', [router.address, liquidity]);
  await send('remove liquidity', router, 'removeLiquidity',
    [one.address, two.address, BigInt(liquidity) / 2n, 0n, 0n, me, DEADLINE]);

  const greedy = [ETHER, 1_000n * ETHER, path, me, DEADLINE];
  assert.match(
    await client.refusal(router, 'swapExactTokensForTokens', greedy), /UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT/);
  const failed = await client.send(router, 'swapExactTokensForTokens', greedy, { gas: 500_000n });
  observed.failed = outcome(failed);
  assert.deepEqual(observed.failed, { succeeded: false, logs: [] });

  observed.balances = {};
  for (const [name, token] of [['one', one], ['two', two], ['pair', pair], ['weth', weth]]) {
    [observed.balances[name]] = await client.read(token, 'balanceOf', [me]);
  }
  observed.names = [...await client.read(one, 'name', []), ...await client.read(two, 'symbol', [])];
  assert.deepEqual(observed.names, ['First Token', 'TWO']);
  return observed;
}
