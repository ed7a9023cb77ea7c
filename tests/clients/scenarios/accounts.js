// Accounts with code: ERC-4337's entry point 0.8, and EIP-7702.
import assert from 'node:assert/strict';
import { concat, encodeFunctionData, pad, parseAbi, toHex, zeroAddress } from 'viem';
import { Token } from '../lib/contracts.js';
import { Account7702, AccountFactory, EntryPoint, SimpleAccount } from './artifacts.js';

const ETHER = 10n ** 18n;
const GWEI = 10n ** 9n;

const encode = ({ abi }, functionName, args) => encodeFunctionData({ abi, functionName, args });
const two = (high, low) => concat([pad(toHex(high), { size: 16 }), pad(toHex(low), { size: 16 })]);

export async function erc4337(t) {
  const [bundler, , owner] = t.accounts.map(({ address }) => address);
  const entry = await t.deploy('entry point', EntryPoint);
  const factory = await t.deploy('factory', AccountFactory, [entry.address]);
  const token = await t.deploy('token', Token, ['Spent', 'SPENT', 1_000n * ETHER]);
  const account = { address: await t.read('account', factory, 'getAddress', [owner, 5n]), abi: SimpleAccount.abi };
  await t.fails('without the entry point', factory, 'createAccount', [owner, 5n]);
  await t.send('deposit', entry, 'depositTo', [account.address], { value: ETHER / 20n });
  await t.send('tokens', token, 'transfer', [account.address, 10n * ETHER]);

  let signed = 0;
  const operation = async (nonce, callData, { initCode = '0x', signer = 2, callGas = 200_000n } = {}) => {
    const unsigned = {
      sender: account.address, nonce, initCode, callData, accountGasLimits: two(1_000_000n, callGas), preVerificationGas: 50_000n,
      // The same price on every chain: what an operation costs is in its events.
      gasFees: two(GWEI, GWEI), paymasterAndData: '0x', signature: '0x',
    };
    const hash = await t.read(`hash of operation ${signed += 1}`, entry, 'getUserOpHash', [unsigned]);
    return { ...unsigned, signature: await t.account(signer).account.sign({ hash }) };
  };
  const pay = (amount) => encode(account, 'execute', [token.address, 0n, encode(token, 'transfer', [bundler, amount])]);
  const initCode = concat([factory.address, encode(factory, 'createAccount', [owner, 5n])]);
  await t.fails('before there is an account', entry, 'handleOps', [[await operation(0n, pay(1n))], bundler]);
  await t.send('create the account and pay', entry, 'handleOps', [[await operation(0n, pay(ETHER), { initCode })], bundler]);
  await t.read('owner', account, 'owner');
  await t.fails('signed by another', entry, 'handleOps', [[await operation(1n, pay(ETHER), { signer: 1 })], bundler]);
  await t.fails('a nonce twice', entry, 'handleOps', [[await operation(0n, pay(2n))], bundler]);
  await t.send('an operation that reverts', entry, 'handleOps', [[await operation(1n, pay(100n * ETHER))], bundler]);
  await t.send('an operation without gas', entry, 'handleOps', [[await operation(2n, pay(1n), { callGas: 1_000n })], bundler]);
  const batch = encode(account, 'executeBatch', [[
    { target: token.address, value: 0n, data: encode(token, 'approve', [bundler, ETHER]) },
    { target: token.address, value: 0n, data: encode(token, 'transfer', [bundler, 7n]) },
  ]]);
  await t.send('two operations, two keys', entry, 'handleOps', [
    [await operation(3n, batch), await operation(2n ** 64n, pay(3n))], bundler]);
  await t.read('deposit left', entry, 'balanceOf', [account.address]);
  await t.read('tokens left', token, 'balanceOf', [account.address]);
}

export async function eip7702(t) {
  const [me, other, poor] = t.accounts.map(({ address }) => address);
  const { id } = t.chain;
  const code = await t.deploy('code', Account7702);
  const token = await t.deploy('token', Token, ['Batched', 'BAT', 1_000n * ETHER]);
  const at = (address) => ({ address, abi: Account7702.abi });
  const nonce = async (address) => Number(await t.chain.request('eth_getTransactionCount', address, 'pending'));
  const observe = async (name, address) => {
    t.same(`${name}: code`, await t.chain.request('eth_getCode', address, 'latest'));
    t.same(`${name}: nonce`, await nonce(address));
  };

  // Somebody without ether, paid for by me.
  const authorization = await t.account(2).authorize(code.address, 0, id);
  const { gasUsed } = await t.raw('delegate another', { to: poor, data: '0x', authorizationList: [authorization], free: true });
  // EIP-7702 refunds only for accounts that exist.
  if (t.chain.annex) assert.ok(BigInt(gasUsed) >= 21_000n + 25_000n);
  await observe('delegated another', poor);
  await t.raw('the same authorization again', { to: poor, data: '0x', authorizationList: [authorization] });
  await observe('not again', poor);
  await t.fails('of another', at(poor), 'execute', [other, 0n, '0x']);

  // Myself: my nonce has gone up when the authorization is looked at.
  const transfer = (to, amount) => ({ target: token.address, value: 0n, data: encode(token, 'transfer', [to, amount]) });
  const batch = (...calls) => encodeFunctionData({ abi: Account7702.abi, functionName: 'executeBatch', args: [calls] });
  const mine = await t.account(0).authorize(code.address, await nonce(me) + 1, id);
  await t.raw('delegate and run a batch', { to: me, data: batch(transfer(poor, 5n), transfer(other, 6n)), authorizationList: [mine] });
  await observe('delegated', me);
  await t.send('a batch', at(me), 'executeBatch', [[transfer(poor, 1n), { target: other, value: 9n, data: '0x' }]]);
  await t.fails('a batch that reverts', at(me), 'executeBatch', [[transfer(poor, 1n), transfer(other, 9_999n * ETHER)]]);
  await t.fails('a batch of another', at(me), 'executeBatch', [[transfer(poor, 1n)]], { from: 1 });
  await t.raw('ether to code', { to: me, value: 3n, from: 1 });
  await t.read('interface', at(me), 'supportsInterface', ['0x01ffc9a7']);
  await t.read('tokens', token, 'balanceOf', [poor]);

  // One of three counts: the others are for another chain, or have a wrong nonce. The chain id 0 is every chain's.
  const several = [
    await t.account(2).authorize(token.address, 1, id + 1), await t.account(2).authorize(token.address, 7, id),
    await t.account(2).authorize(token.address, 1, 0),
  ];
  await t.raw('several authorizations', { to: other, data: '0x', authorizationList: several });
  await observe('delegated to a token', poor);

  const revocation = await t.account(0).authorize(zeroAddress, await nonce(me) + 1, id);
  await t.raw('revoke', { to: other, data: '0x', authorizationList: [revocation] });
  await observe('revoked', me);
  const entry = { address: me, abi: parseAbi(['function executeBatch((address target, uint256 value, bytes data)[] calls)']) };
  await t.send('a call of nothing', entry, 'executeBatch', [[]], { from: 1 });
}
