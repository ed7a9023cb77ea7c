// Safe 1.4.1: a proxy with three owners of whom two must sign, batches, and a module.
import { concat, encodeFunctionData, encodePacked, size, zeroAddress } from 'viem';
import { Token } from '../lib/contracts.js';
import { MultiSend, Safe, SafeFactory, SafeFallback } from './artifacts.js';

const ETHER = 10n ** 18n;
const CALL = 0;
const DELEGATECALL = 1;
const TYPES = {
  SafeTx: [
    ['address', 'to'], ['uint256', 'value'], ['bytes', 'data'], ['uint8', 'operation'], ['uint256', 'safeTxGas'],
    ['uint256', 'baseGas'], ['uint256', 'gasPrice'], ['address', 'gasToken'], ['address', 'refundReceiver'], ['uint256', 'nonce'],
  ].map(([type, name]) => ({ type, name })),
};

const encode = ({ abi }, functionName, args) => encodeFunctionData({ abi, functionName, args });

function batch(calls) {
  const packed = calls.map(({ to, value = 0n, data = '0x' }) => encodePacked(
    ['uint8', 'address', 'uint256', 'uint256', 'bytes'], [CALL, to, value, BigInt(size(data)), data]));
  return concat(packed);
}

export async function safe(t) {
  const owners = t.accounts.map(({ address }) => address);
  const singleton = await t.deploy('singleton', Safe);
  const factory = await t.deploy('factory', SafeFactory);
  const fallback = await t.deploy('fallback', SafeFallback);
  const multiSend = await t.deploy('multisend', MultiSend);
  const token = await t.deploy('token', Token, ['Kept', 'KEPT', 1_000n * ETHER]);
  const setup = encode(singleton, 'setup', [owners, 2n, zeroAddress, '0x', fallback.address, zeroAddress, 0n, zeroAddress]);
  const { logs } = await t.send('create', factory, 'createProxyWithNonce', [singleton.address, setup, 7n]);
  const made = logs.find(({ address }) => address.toLowerCase() === factory.address.toLowerCase());
  const wallet = { address: `0x${made.topics[1].slice(26)}`, abi: Safe.abi };
  await t.fails('set it up again', wallet, 'setup', [owners, 1n, zeroAddress, '0x', zeroAddress, zeroAddress, 0n, zeroAddress]);
  await t.read('owners', wallet, 'getOwners');
  await t.raw('ether in', { to: wallet.address, value: ETHER / 10n });
  await t.send('tokens in', token, 'transfer', [wallet.address, 100n * ETHER]);

  let nonce = 0n;
  const signed = async ({ to, value = 0n, data = '0x', operation = CALL }, signers) => {
    const message = {
      to, value, data, operation, safeTxGas: 0n, baseGas: 0n, gasPrice: 0n, gasToken: zeroAddress, refundReceiver: zeroAddress, nonce,
    };
    const domain = { chainId: t.chain.id, verifyingContract: wallet.address };
    const accounts = signers.map((i) => t.account(i)).sort((a, b) => (BigInt(a.address) < BigInt(b.address) ? -1 : 1));
    const signatures = [];
    for (const account of accounts) signatures.push(await account.signTyped(domain, TYPES, 'SafeTx', message));
    return [to, value, data, operation, 0n, 0n, 0n, zeroAddress, zeroAddress, concat(signatures)];
  };
  const execute = async (name, call, signers) => {
    await t.send(name, wallet, 'execTransaction', await signed(call, signers));
    nonce += 1n;
  };

  const pay = { to: owners[2], value: ETHER / 100n };
  await t.fails('one signature', wallet, 'execTransaction', await signed(pay, [0]));
  await execute('ether out', pay, [0, 2]);
  await t.fails('the same again', wallet, 'execTransaction', await signed({ ...pay, value: 10n * ETHER }, [1, 2]));
  const give = (amount) => encode(token, 'transfer', [owners[1], amount]);
  await execute('tokens out', { to: token.address, data: give(ETHER) }, [1, 2]);
  const calls = [{ to: token.address, data: give(2n * ETHER) }, { to: owners[1], value: 5n }, { to: token.address, data: give(3n * ETHER) }];
  await execute('a batch', { to: multiSend.address, data: encode(multiSend, 'multiSend', [batch(calls)]), operation: DELEGATECALL }, [0, 1]);

  await t.fails('a module that is none', wallet, 'execTransactionFromModule', [token.address, 0n, give(1n), CALL], { from: 1 });
  await execute('enable a module', { to: wallet.address, data: encode(wallet, 'enableModule', [owners[1]]) }, [0, 1]);
  await t.send('by the module', wallet, 'execTransactionFromModule', [token.address, 0n, give(4n * ETHER), CALL], { from: 1 });
  await t.send('by the module, in vain', wallet, 'execTransactionFromModule', [token.address, 0n, give(10_000n * ETHER), CALL], { from: 1 });
  await execute('one signature suffices', { to: wallet.address, data: encode(wallet, 'changeThreshold', [1n]) }, [0, 1]);
  await execute('with one', { to: token.address, data: give(5n) }, [2]);
  await t.read('nonce', wallet, 'nonce');
  await t.read('balance', token, 'balanceOf', [owners[1]]);
}
