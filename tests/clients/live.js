// Subscriptions over WebSocket: heads, logs and, where the chain has them, mini-blocks. `node live.js URL KEY WS_URL`.
import assert from 'node:assert/strict';
import { WebSocketProvider } from 'ethers';
import { createPublicClient, createWalletClient, http, webSocket, zeroHash } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { Token } from './lib/contracts.js';
import { eventually, inOrder, run } from './lib/run.js';

const TRANSFERS = 5;

run(async ({ url, key, ws }) => {
  const account = privateKeyToAccount(key);
  const client = createPublicClient({ transport: http(url), pollingInterval: 50 });
  const wallet = createWalletClient({ transport: http(url), account });
  const live = createPublicClient({ transport: webSocket(ws) });
  const fail = (error) => { throw error; };
  const isAnnex = (await client.request({ method: 'web3_clientVersion' })).startsWith('annex/');

  const hash = await wallet.deployContract({ ...Token, args: ['Live', 'L', 10n ** 18n], chain: null });
  const { contractAddress: token } = await client.waitForTransactionReceipt({ hash });
  // Subscriptions tell what is sealed after them.
  await eventually('the seal', async () => (await client.getTransactionReceipt({ hash })).blockHash !== zeroHash);

  const arrived = [];
  const subscribe = (kind, ...params) => live.transport.subscribe({
    params: [kind, ...params],
    onData: ({ result }) => arrived.push([kind + (params[0]?.fromBlock ?? ''), result]),
    onError: fail,
  });
  await subscribe('newHeads');
  await subscribe('logs', { address: token });
  if (isAnnex) {
    await subscribe('logs', { address: token, fromBlock: 'pending' });
    await subscribe('miniBlocks');
  }
  const provider = new WebSocketProvider(ws);
  const numbers = [];
  await provider.on('block', (number) => numbers.push(BigInt(number)));

  const hashes = [];
  for (let i = 1n; i <= TRANSFERS; i += 1n) {
    const sent = await wallet.writeContract(
      { address: token, abi: Token.abi, functionName: 'transfer', args: [token, i], chain: null });
    await client.waitForTransactionReceipt({ hash: sent });
    hashes.push(sent);
  }
  const of = (kind) => arrived.filter(([name]) => name === kind).map(([, result]) => result);
  await eventually('every log', () => of('logs').length >= TRANSFERS);
  const logs = of('logs');
  assert.deepEqual(logs.map((log) => log.transactionHash), hashes);
  assert.deepEqual(logs.map((log) => BigInt(log.data)), [1n, 2n, 3n, 4n, 5n]);
  await eventually('the last head', () => of('newHeads').some((head) => head.hash === logs.at(-1).blockHash));
  const heads = of('newHeads');
  inOrder(heads);
  for (const head of heads) {
    assert.equal((await client.getBlock({ blockHash: head.hash })).number, BigInt(head.number));
  }
  await eventually('heads in ethers', () => numbers.includes(BigInt(logs.at(-1).blockNumber)));

  if (isAnnex) {
    const early = of('logspending');
    assert.deepEqual(early.map((log) => log.transactionHash), hashes);
    // The place that an acknowledgement names is the place in the sealed block.
    const place = ({ blockNumber, transactionIndex, logIndex }) => [blockNumber, transactionIndex, logIndex];
    assert.deepEqual(early.map(place), logs.map(place));
    const promised = of('miniBlocks').flatMap((mini) => mini.receipts);
    for (const sent of hashes) {
      const [receipt] = promised.filter((entry) => entry.transactionHash === sent);
      const sealed = await client.request({ method: 'eth_getTransactionReceipt', params: [sent] });
      for (const field of ['status', 'gasUsed', 'cumulativeGasUsed', 'blockNumber', 'transactionIndex', 'logsBloom']) {
        assert.equal(receipt[field], sealed[field], field);
      }
    }
    const first = (kind, match) => arrived.findIndex(([name, result]) => name === kind && match(result));
    const mini = first('miniBlocks', (result) => result.receipts.some((entry) => entry.transactionHash === hashes[0]));
    const head = first('newHeads', (result) => result.hash === logs[0].blockHash);
    assert.ok(mini < head, 'a promise came after the block');
  }
  return { transfers: logs.map(({ topics, data }) => ({ topics, data })) };
});
