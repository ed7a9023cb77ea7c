// Ether and a token from L2 to L1 with viem's op-stack actions. `node withdraw.js URL KEY L1_URL`; the key has ether on both.
import assert from 'node:assert/strict';
import { concat, keccak256, parseAbi, parseEther, parseEventLogs, toHex } from 'viem';
import { Token } from './lib/contracts.js';
import { eventually, run } from './lib/run.js';
import { chains, complete, sealed } from './lib/withdrawals.js';

const FACTORY = '0x4200000000000000000000000000000000000012';
const BRIDGE = '0x4200000000000000000000000000000000000010';
const AMOUNT = parseEther('1.25');
const SUPPLY = 10n ** 24n;
const TOKENS = 10n ** 20n;

const bridgeAbi = parseAbi([
  'function depositERC20(address l1Token, address l2Token, uint256 amount, uint32 minGasLimit, bytes extraData)',
  'function withdraw(address l2Token, uint256 amount, uint32 minGasLimit, bytes extraData) payable',
  'function deposits(address l1Token, address l2Token) view returns (uint256)',
]);
const factoryAbi = parseAbi([
  'function createOptimismMintableERC20(address remoteToken, string name, string symbol) returns (address)',
  'event OptimismMintableERC20Created(address indexed localToken, address indexed remoteToken, address deployer)',
]);

async function etherOut(chain) {
  const { account, publicL1, publicL2, walletL2 } = chain;
  // Nobody's, another with every key and nonce.
  const nonce = await publicL2.getTransactionCount({ address: account.address });
  const to = `0x${keccak256(concat([account.address, toHex(nonce)])).slice(26)}`;
  // buildInitiateWithdrawal would estimate the gas on L1 as the zero address, which owns nothing on a development chain.
  const hash = await walletL2.initiateWithdrawal({ account, request: { gas: 21_000n, to, value: AMOUNT } });
  return async () => {
    const done = await complete(chain, await sealed(chain, hash));
    assert.equal(await publicL1.getBalance({ address: to }), AMOUNT);
    return done;
  };
}

// Deposits a new token, and takes half of it back.
async function tokenOut(chain) {
  const { account, contracts, publicL1, publicL2, walletL1, walletL2 } = chain;
  const onL1 = async (hash) => publicL1.waitForTransactionReceipt({ hash: await hash });
  const onL2 = async (hash) => sealed(chain, await hash);
  const bridge = { address: contracts.l1StandardBridge, abi: bridgeAbi };
  const { contractAddress: token } = await onL1(walletL1.deployContract({ ...Token, args: ['Round trip', 'RT', SUPPLY] }));
  const created = await onL2(walletL2.writeContract({
    address: FACTORY, abi: factoryAbi, functionName: 'createOptimismMintableERC20', args: [token, 'Round trip', 'RT'],
  }));
  const [{ args: { localToken } }] = parseEventLogs({ abi: factoryAbi, eventName: 'OptimismMintableERC20Created', logs: created.logs });
  const held = (client, address, abi = Token.abi) => client.readContract(
    { address, abi, functionName: 'balanceOf', args: [account.address] });

  await onL1(walletL1.writeContract({ address: token, abi: Token.abi, functionName: 'approve', args: [bridge.address, TOKENS] }));
  await onL1(walletL1.writeContract({ ...bridge, functionName: 'depositERC20', args: [token, localToken, TOKENS, 100_000, '0x'] }));
  await eventually('the tokens on L2', async () => (await held(publicL2, localToken)) === TOKENS, 60_000);
  assert.equal(await held(publicL1, token), SUPPLY - TOKENS);

  const receipt = await onL2(walletL2.writeContract(
    { address: BRIDGE, abi: bridgeAbi, functionName: 'withdraw', args: [localToken, TOKENS / 2n, 0, '0x'] }));
  assert.equal(await held(publicL2, localToken), TOKENS / 2n);
  return async () => {
    const done = await complete(chain, receipt);
    assert.equal(await held(publicL1, token), SUPPLY - TOKENS / 2n);
    const args = [token, localToken];
    assert.equal(await publicL1.readContract({ ...bridge, functionName: 'deposits', args }), TOKENS / 2n);
    return { ...done, token, localToken };
  };
}

run(async ({ url, key, ws: l1Url }) => {
  const chain = await chains(url, l1Url, key);
  const token = await tokenOut(chain);
  const ether = await etherOut(chain);
  const [ofToken, ofEther] = await Promise.all([token(), ether()]);
  return { ether: ofEther, token: ofToken };
});
