// Every kind of read about one transfer, each checked against the others.
import assert from 'node:assert/strict';
import {
  createPublicClient, createWalletClient, encodeAbiParameters, encodeFunctionData, http, keccak256, parseEventLogs, toHex,
  zeroHash,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { Token } from './lib/contracts.js';
import { eventually, run } from './lib/run.js';

const RECEIVER = '0x00000000000000000000000000000000000000B0';
const AMOUNT = 12_345n;

run(async ({ url, key }) => {
  const account = privateKeyToAccount(key);
  const transport = http(url);
  const client = createPublicClient({ transport, pollingInterval: 50 });
  const wallet = createWalletClient({ transport, account });
  const request = (method, ...params) => client.request({ method, params });
  const sealed = async (hash) => {
    const early = await client.waitForTransactionReceipt({ hash });
    const receipt = await eventually('the seal', async () => {
      const found = await client.getTransactionReceipt({ hash });
      return found.blockHash !== zeroHash && found;
    });
    const log = (entry) => ({ ...entry, blockHash: zeroHash });
    const unsealed = (r) => ({ ...r, blockHash: zeroHash, logs: r.logs.map(log) });
    assert.deepEqual(unsealed(receipt), unsealed(early), 'the seal changed a receipt');
    assert.equal(receipt.status, 'success');
    return receipt;
  };

  const filter = await request('eth_newFilter', {});
  const deployment = await sealed(await wallet.deployContract(
    { ...Token, args: ['Read', 'R', 10n ** 18n], chain: null }));
  const token = deployment.contractAddress;
  const nonce = await client.getTransactionCount({ address: account.address });
  const hash = await wallet.writeContract(
    { address: token, abi: Token.abi, functionName: 'transfer', args: [RECEIVER, AMOUNT], chain: null });
  assert.equal(await client.getTransactionCount({ address: account.address, blockTag: 'pending' }), nonce + 1);
  const receipt = await sealed(hash);
  const { blockNumber, blockHash, transactionIndex } = receipt;

  // Blocks.
  const block = await client.getBlock({ blockNumber, includeTransactions: true });
  assert.equal(block.hash, blockHash);
  assert.deepEqual(await client.getBlock({ blockHash, includeTransactions: true }), block);
  const parent = await client.getBlock({ blockNumber: blockNumber - 1n });
  assert.equal(block.parentHash, parent.hash);
  assert.ok(block.timestamp >= parent.timestamp);
  assert.equal(await client.getBlockTransactionCount({ blockHash }), block.transactions.length);
  assert.ok(await client.getBlockNumber({ cacheTime: 0 }) >= blockNumber);
  for (const blockTag of ['earliest', 'safe', 'finalized', 'latest', 'pending']) {
    assert.ok((await client.getBlock({ blockTag })).number >= 0n, blockTag);
  }
  await assert.rejects(client.getBlock({ blockNumber: 1_000_000_000n }), /could not be found/);

  // Transactions and receipts.
  const transaction = await client.getTransaction({ hash });
  assert.deepEqual(block.transactions[transactionIndex], transaction);
  assert.deepEqual(await client.getTransaction({ blockHash, index: transactionIndex }), transaction);
  assert.equal(transaction.from, account.address.toLowerCase());
  assert.equal(transaction.nonce, nonce);
  assert.equal(receipt.effectiveGasPrice, transaction.gasPrice);
  const raw = await request('eth_getRawTransactionByHash', hash);
  assert.equal(keccak256(raw), hash);
  const receipts = await request('eth_getBlockReceipts', toHex(blockNumber));
  assert.deepEqual(receipts.map((r) => r.transactionHash), block.transactions.map((tx) => tx.hash));
  assert.deepEqual(receipts[transactionIndex], await request('eth_getTransactionReceipt', hash));
  assert.equal(await request('eth_getTransactionReceipt', keccak256('0x')), null);

  // Logs.
  const [event] = parseEventLogs({ abi: Token.abi, logs: receipt.logs });
  assert.deepEqual(event.args, { from: account.address, to: RECEIVER, value: AMOUNT });
  const topic = receipt.logs[0].topics[0];
  const found = await request('eth_getLogs', { address: token, topics: [topic], fromBlock: toHex(blockNumber), toBlock: 'latest' });
  assert.equal(found.length, 1);
  assert.deepEqual(await request('eth_getLogs', { blockHash, address: [token], topics: [[topic, zeroHash], null] }), found);
  assert.deepEqual(await request('eth_getLogs', { blockHash, address: token, topics: [zeroHash] }), []);
  const changes = await request('eth_getFilterChanges', filter);
  assert.deepEqual(changes.filter((log) => log.transactionHash === hash), found);
  assert.equal(await request('eth_uninstallFilter', filter), true);

  // State, now and before.
  const balance = (functionName, at = {}) => client.readContract(
    { address: token, abi: Token.abi, functionName, args: [RECEIVER], ...at });
  assert.equal(await balance('balanceOf'), AMOUNT);
  assert.equal(await balance('balanceOf', { blockNumber: blockNumber - 1n }), 0n);
  const slot = keccak256(encodeAbiParameters([{ type: 'address' }, { type: 'uint256' }], [RECEIVER, 0n]));
  assert.equal(BigInt(await client.getStorageAt({ address: token, slot })), AMOUNT);
  assert.equal(BigInt(await client.getStorageAt({ address: token, slot, blockNumber: blockNumber - 1n })), 0n);
  const code = await client.getCode({ address: token });
  assert.ok(code.length > 1_000);
  assert.equal(await client.getCode({ address: RECEIVER }), undefined);
  const overridden = await balance('balanceOf', { stateOverride: [{ address: token, stateDiff: [{ slot, value: toHex(7, { size: 32 }) }] }] });
  assert.equal(overridden, 7n);
  const spent = receipt.gasUsed * receipt.effectiveGasPrice;
  const [before, after] = await Promise.all([blockNumber - 1n, blockNumber].map(
    (at) => client.getBalance({ address: account.address, blockNumber: at })));
  assert.equal(before - after, spent);

  // Proofs; the node's own test verifies a proof's nodes.
  const proof = await client.getProof({ address: token, storageKeys: [slot], blockNumber });
  assert.equal(proof.storageProof[0].value, AMOUNT);
  assert.equal(keccak256(proof.accountProof[0]), block.stateRoot);
  assert.equal(keccak256(proof.storageProof[0].proof[0]), proof.storageHash);
  assert.equal(proof.codeHash, keccak256(code));

  // Fees.
  const history = await client.getFeeHistory({ blockCount: 2, blockNumber, rewardPercentiles: [10, 90] });
  assert.equal(history.oldestBlock, blockNumber - 1n);
  assert.equal(history.baseFeePerGas.length, 3);
  assert.equal(history.baseFeePerGas[1], block.baseFeePerGas);
  assert.equal(history.reward.length, 2);
  assert.ok(await client.getGasPrice() >= block.baseFeePerGas);
  assert.ok(await client.estimateMaxPriorityFeePerGas() >= 0n);
  const data = encodeFunctionData({ abi: Token.abi, functionName: 'transfer', args: [RECEIVER, 1n] });
  const estimate = await client.estimateGas({ account, to: token, data });
  assert.ok(estimate >= 21_000n && estimate < 200_000n);
  const refused = client.estimateGas({ account: RECEIVER, to: token, data: encodeFunctionData(
    { abi: Token.abi, functionName: 'transferFrom', args: [account.address, RECEIVER, 1n] }) });
  await assert.rejects(refused, (error) => error.walk((e) => e.data?.startsWith?.('0xfb8f41b2')) !== null
    || /0xfb8f41b2|revert/.test(error.message));

  // The node.
  const id = await client.getChainId();
  assert.equal(await request('net_version'), String(id));
  assert.match(await request('web3_clientVersion'), /\w+\/v?\d/);
  assert.equal(await request('web3_sha3', '0x'), keccak256('0x'));
  assert.equal(await request('eth_syncing'), false);
  return { token: token.toLowerCase(), logs: found.map(({ topics, data: bytes }) => ({ topics, data: bytes })) };
});
