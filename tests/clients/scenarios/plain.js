// Multicall3, Permit2, and what no contract's interface names: transaction types, CREATE2, precompiles.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { concat, encodeDeployData, encodeFunctionData, getContractAddress, pad, parseAbi, sha256, toHex } from 'viem';
import { Token } from '../lib/contracts.js';
import { Permit2 } from './artifacts.js';
import { DEADLINE } from './tokens.js';

const ETHER = 10n ** 18n;
const CREATE2 = '0x4e59b44847b379578588920cA78FbF26c0B4956C';
const MULTICALL = {
  address: '0xcA11bde05977b3631167028862bE2a173976CA11',
  abi: parseAbi([
    'struct Call { address target; bool allowFailure; bytes callData; }',
    'struct Call3Value { address target; bool allowFailure; uint256 value; bytes callData; }',
    'struct Result { bool success; bytes returnData; }',
    'function aggregate3(Call[] calls) payable returns (Result[])',
    'function aggregate3Value(Call3Value[] calls) payable returns (Result[])',
    'function getEthBalance(address) view returns (uint256)',
    'function getChainId() view returns (uint256)',
  ]),
};
const genesis = JSON.parse(readFileSync(fileURLToPath(new URL('../../../contracts/genesis/Multicall3.json', import.meta.url)), 'utf8'));

const encode = ({ abi }, functionName, args) => encodeFunctionData({ abi, functionName, args });

export async function multicall(t) {
  const [me, other] = t.accounts.map(({ address }) => address);
  await t.chain.predeploy(MULTICALL.address, genesis.deployedBytecode);
  const token = await t.deploy('token', Token, ['Many', 'MANY', ETHER]);
  const call = (functionName, args, allowFailure = true) => ({ target: token.address, allowFailure, callData: encode(token, functionName, args) });
  const reads = [call('name', []), call('balanceOf', [me]), call('transferFrom', [me, other, 1n]), call('totalSupply', [])];
  await t.read('reads', MULTICALL, 'aggregate3', [reads]);
  await t.send('reads in a transaction', MULTICALL, 'aggregate3', [reads]);
  await t.fails('one that must not fail', MULTICALL, 'aggregate3', [[call('transferFrom', [me, other, 1n], false)]]);
  await t.send('approve', token, 'approve', [MULTICALL.address, 100n]);
  await t.send('writes', MULTICALL, 'aggregate3', [[call('transferFrom', [me, other, 3n]), call('transferFrom', [me, other, 4n])]]);
  const pays = [other, MULTICALL.address].map((target, i) => ({ target, allowFailure: true, value: BigInt(i + 1), callData: '0x' }));
  await t.send('ether', MULTICALL, 'aggregate3Value', [pays], { value: 3n });
  await t.fails('ether that is not there', MULTICALL, 'aggregate3Value', [pays], { value: 2n });
  await t.read('chain', MULTICALL, 'getChainId');
  const { reader } = t.account(0);
  if (reader) {
    const contracts = [['symbol', []], ['balanceOf', [other]], ['transfer', [MULTICALL.address, 2n * ETHER]]]
      .map(([functionName, args]) => ({ ...token, functionName, args }));
    const results = await reader.multicall({ contracts, multicallAddress: MULTICALL.address });
    t.same('through viem', results.map(({ status, result }) => [status, result]));
  }
}

export async function permit2(t) {
  const [me, other, third] = t.accounts.map(({ address }) => address);
  const permits = await t.deploy('permit2', Permit2);
  const token = await t.deploy('token', Token, ['Permitted', 'PER', 1_000n * ETHER]);
  await t.send('approve', token, 'approve', [permits.address, 2n ** 256n - 1n]);
  await t.read('domain', permits, 'DOMAIN_SEPARATOR');
  const domain = { name: 'Permit2', chainId: t.chain.id, verifyingContract: permits.address };
  const fields = (list) => list.map(([type, name]) => ({ type, name }));
  const once = {
    PermitTransferFrom: fields([['TokenPermissions', 'permitted'], ['address', 'spender'], ['uint256', 'nonce'], ['uint256', 'deadline']]),
    TokenPermissions: fields([['address', 'token'], ['uint256', 'amount']]),
  };
  const permit = { permitted: { token: token.address, amount: 10n * ETHER }, nonce: 258n, deadline: DEADLINE };
  const sign = (index) => t.account(index).signTyped(domain, once, 'PermitTransferFrom', { ...permit, spender: other });
  const take = (amount, signature, to = third) => [permit, { to, requestedAmount: amount }, me, signature];
  await t.fails('signed by another', permits, 'permitTransferFrom', take(ETHER, await sign(1)), { from: 1 });
  await t.fails('for another', permits, 'permitTransferFrom', take(ETHER, await sign(0)));
  await t.send('a signed transfer', permits, 'permitTransferFrom', take(ETHER, await sign(0)), { from: 1 });
  await t.fails('the same again', permits, 'permitTransferFrom', take(ETHER, await sign(0)), { from: 1 });
  await t.read('nonces', permits, 'nonceBitmap', [me, 1n]);

  const standing = {
    PermitSingle: fields([['PermitDetails', 'details'], ['address', 'spender'], ['uint256', 'sigDeadline']]),
    PermitDetails: fields([['address', 'token'], ['uint160', 'amount'], ['uint48', 'expiration'], ['uint48', 'nonce']]),
  };
  const single = {
    details: { token: token.address, amount: 5n * ETHER, expiration: Number(DEADLINE), nonce: 0 }, spender: other, sigDeadline: DEADLINE,
  };
  const signature = await t.account(0).signTyped(domain, standing, 'PermitSingle', single);
  await t.send('an allowance', permits, 'permit', [me, single, signature], { from: 1 });
  await t.fails('the allowance again', permits, 'permit', [me, single, signature], { from: 1 });
  await t.send('a transfer', permits, 'transferFrom', [me, third, 2n * ETHER, token.address], { from: 1 });
  await t.fails('more than allowed', permits, 'transferFrom', [me, third, 4n * ETHER, token.address], { from: 1 });
  await t.read('allowance', permits, 'allowance', [me, token.address, other]);
  await t.read('balance', token, 'balanceOf', [third]);
}

export async function types(t) {
  const [me, other] = t.accounts.map(({ address }) => address);
  const salt = pad(me);
  const code = encodeDeployData({ abi: Token.abi, bytecode: Token.bytecode, args: ['Deterministic', 'DET', ETHER] });
  await t.raw('create2', { to: CREATE2, data: concat([salt, code]), gas: 4_000_000n });
  const token = { address: getContractAddress({ opcode: 'CREATE2', from: CREATE2, salt, bytecode: code }), abi: Token.abi };
  t.same('code', await t.chain.request('eth_getCode', token.address, 'latest'));
  await t.read('owner of nothing', token, 'balanceOf', [me]);
  const approve = encode(token, 'approve', [other, 5n]);
  await t.raw('legacy', { type: 'legacy', to: token.address, data: approve });
  const accessList = [{ address: token.address, storageKeys: [pad('0x02'), pad('0x99')] }, { address: other, storageKeys: [] }];
  await t.raw('access list', { type: 'eip2930', to: token.address, data: approve, accessList });
  await t.raw('fee market with an access list', { to: token.address, data: encode(token, 'approve', [other, 0n]), accessList });
  await t.raw('ether', { to: other, value: 5n, gas: 60_000n });
  await t.raw('a note', { to: other, data: toHex('calldata priced by EIP-7623 '.repeat(40)) });

  // Every precompile with input that it takes, and with some that it does not.
  const numbers = (...list) => concat(list.map((n) => pad(toHex(n))));
  const inputs = [
    ['01', concat([sha256('0x01'), numbers(27, 5, 6)])], ['02', '0x616263'], ['03', '0x616263'], ['04', '0x616263'],
    ['05', concat([numbers(1, 1, 2), '0x03ffff0d'])], ['06', numbers(1, 2, 1, 2)], ['07', numbers(1, 2, 9)], ['08', '0x'],
    ['09', concat(['0x0000000c', pad('0x', { size: 208 }), '0x01'])], ['0a', '0x00'], ['0b', '0x'], ['0c', '0x00'], ['0f', '0x'],
    ['10', pad('0x', { size: 64 })], ['11', pad('0x', { size: 128 })], ['0100', numbers(1, 2, 3, 4, 5)], ['08', numbers(1)],
    ['06', numbers(1, 3, 1, 2)],
  ];
  for (const [i, [name, data]] of inputs.entries()) {
    const to = pad(`0x${name}`, { size: 20 });
    const answer = await t.chain.request('eth_call', { to, data, gas: '0x2dc6c0' }, 'latest').then((r) => r, () => 'failed');
    t.same(`precompile ${name}, ${i}`, answer);
    if (answer !== 'failed') await t.raw(`transaction to ${name}, ${i}`, { to, data });
  }
}
