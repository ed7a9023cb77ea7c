// eth_sendRawTransactionSync (EIP-7966) and the promise in its receipt. `node sync.js URL KEY L1_URL`; without L1_URL
// the chain makes no promises.
import assert from 'node:assert/strict';
import {
  concat, createPublicClient, createWalletClient, hashTypedData, http, keccak256, parseAbi, recoverTypedDataAddress,
  toHex, toRlp,
} from 'viem';
import { mnemonicToAccount, privateKeyToAccount } from 'viem/accounts';
import { run, sleep } from './lib/run.js';

const TYPES = {
  Promise: [
    ['uint64', 'l2ChainId'], ['uint256', 'leaseId'], ['uint64', 'sequence'], ['bytes32', 'previous'],
    ['uint64', 'blockNumber'], ['uint64', 'timestamp'], ['address', 'beneficiary'], ['uint256', 'baseFee'],
    ['bytes32', 'origin'], ['uint32', 'firstIndex'], ['uint32', 'count'], ['bytes32', 'root'],
  ].map(([type, name]) => ({ type, name })),
};

// spec/promise.md: the root over one transaction alone.
function leaf(receipt) {
  const quantity = (hex) => (BigInt(hex) === 0n ? '0x' : toHex(BigInt(hex)));
  const logs = receipt.logs.map((log) => [log.address, log.topics, log.data]);
  const body = toRlp([quantity(receipt.status), quantity(receipt.cumulativeGasUsed), receipt.logsBloom, logs]);
  const encoded = receipt.type === '0x0' ? body : concat([receipt.type.length === 3 ? `0x0${receipt.type[2]}` : receipt.type, body]);
  return keccak256(concat(['0x00', receipt.transactionHash, keccak256(encoded)]));
}

// The embedded L1 answers after its next block, in two seconds at most, unless told to wait less: then with the hash.
async function onL1(l1Url) {
  const account = mnemonicToAccount('test test test test test test test test test test test junk', { addressIndex: 6 });
  const l1 = createPublicClient({ transport: http(l1Url, { retryCount: 0 }) });
  const request = (method, ...params) => l1.request({ method, params }, { retryCount: 0 });
  if (!(await request('web3_clientVersion')).startsWith('annex/')) return;
  const chainId = await l1.getChainId();
  let nonce = await l1.getTransactionCount({ address: account.address, blockTag: 'pending' });
  const sign = () => account.signTransaction({
    type: 'eip1559', chainId, nonce, to: account.address, value: 0n, gas: 21_000n, maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 10n ** 9n,
  });
  // Just after a block, so that the next is most of a second away.
  const head = await l1.getBlockNumber({ cacheTime: 0 });
  while (await l1.getBlockNumber({ cacheTime: 0 }) === head) await sleep(10);
  const raw = await sign();
  const late = await request('eth_sendRawTransactionSync', raw, '0x1').catch((error) => error);
  const { code, data } = late.walk((error) => typeof error.code === 'number');
  assert.equal(code, 4);
  assert.equal(data, keccak256(raw));
  await l1.waitForTransactionReceipt({ hash: data, pollingInterval: 50 });
  for (const timeout of [[], [null], [0], [5_000]]) {
    nonce += 1;
    const receipt = await request('eth_sendRawTransactionSync', await sign(), ...timeout);
    assert.equal(BigInt(receipt.status), 1n);
    assert.notEqual(BigInt(receipt.blockHash), 0n);
  }
}

run(async ({ url, key, ws: l1Url }) => {
  const account = privateKeyToAccount(key);
  const client = createPublicClient({ transport: http(url, { retryCount: 0 }) });
  const wallet = createWalletClient({ transport: http(url, { retryCount: 0 }), account });
  const request = (method, ...params) => client.request({ method, params }, { retryCount: 0 });
  const chainId = await client.getChainId();
  let nonce = await client.getTransactionCount({ address: account.address });
  const fees = { maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 0n, gas: 200_000n };
  const sign = (at, value = 1n) => account.signTransaction(
    { type: 'eip1559', chainId, nonce: at, to: account.address, value, ...fees });

  // viem's own action.
  const first = await wallet.sendRawTransactionSync({ serializedTransaction: await sign(nonce) });
  assert.equal(first.status, 'success');
  nonce += 1;

  // Every form in which clients give a timeout.
  const receipts = [];
  for (const timeout of [[], [1_000], ['0x3e8'], ['1000'], [null], [0], ['0x0'], [10 ** 9], ['soon']]) {
    if (l1Url === undefined && timeout.length > 0) continue;
    const receipt = await request('eth_sendRawTransactionSync', await sign(nonce), ...timeout);
    assert.equal(BigInt(receipt.status), 1n);
    assert.equal(BigInt(await request('eth_getTransactionCount', account.address, 'latest')), BigInt(nonce + 1));
    receipts.push(receipt);
    nonce += 1;
  }
  if (l1Url === undefined) return { receipts: receipts.length };

  const { contracts, l1ChainId } = await request('annex_deployment');
  const domain = { name: 'Annex', version: '1', chainId: l1ChainId, verifyingContract: contracts.lease };
  const l1 = createPublicClient({ transport: http(l1Url) });
  const [leaseId, , promiseSigner] = await l1.readContract({
    address: contracts.lease,
    abi: parseAbi(['function leaderAt(uint256) view returns (uint256, address, address)']),
    functionName: 'leaderAt',
    args: [await l1.getBlockNumber()],
  });
  let previous;
  for (const { promise, ...receipt } of receipts) {
    const numbers = ['l2ChainId', 'leaseId', 'sequence', 'blockNumber', 'timestamp', 'baseFee', 'firstIndex', 'count'];
    const message = { ...promise, ...Object.fromEntries(numbers.map((name) => [name, BigInt(promise[name])])) };
    const typed = { domain, types: TYPES, primaryType: 'Promise', message };
    assert.equal(await recoverTypedDataAddress({ ...typed, signature: promise.signature }), promiseSigner);
    assert.equal(message.leaseId, leaseId);
    assert.equal(promise.blockNumber, receipt.blockNumber);
    const within = BigInt(receipt.transactionIndex) - message.firstIndex;
    assert.ok(within >= 0n && within < message.count);
    if (message.count === 1n) assert.equal(promise.root, leaf(receipt));
    if (previous && previous.sequence + 1n === message.sequence) assert.equal(promise.previous, previous.digest);
    previous = { sequence: message.sequence, digest: hashTypedData(typed) };
  }

  // Sent again, as a client does whose connection broke: the same receipt.
  // (The pause is for a block of its own, which is open long enough.)
  await sleep(400);
  const raw = await sign(nonce);
  const once = await request('eth_sendRawTransactionSync', raw);
  const twice = await request('eth_sendRawTransactionSync', raw);
  assert.equal(twice.transactionHash, once.transactionHash);
  assert.equal(twice.transactionIndex, once.transactionIndex);
  nonce += 1;

  await onL1(l1Url);

  // A gap names the nonce that is missing.
  const gap = await request('eth_sendRawTransactionSync', await sign(nonce + 1)).catch((error) => error);
  const { code, data } = gap.walk((error) => typeof error.code === 'number');
  assert.equal(code, 6);
  assert.equal(BigInt(data), BigInt(nonce));
  // Both run once the gap is filled.
  await request('eth_sendRawTransactionSync', await sign(nonce));
  assert.equal(Number(await request('eth_getTransactionCount', account.address, 'pending')), nonce + 2);
  return { receipts: receipts.length };
});
