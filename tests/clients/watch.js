// What wagmi does: viem over WebSocket, watching. `node watch.js URL KEY WS_URL`.
import assert from 'node:assert/strict';
import { createPublicClient, createWalletClient, http, webSocket } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { Token } from './lib/contracts.js';
import { consecutive, eventually, inOrder, run } from './lib/run.js';

const TRANSFERS = 4n;

run(async ({ url, key, ws }) => {
  const account = privateKeyToAccount(key);
  const client = createPublicClient({ transport: http(url), pollingInterval: 50 });
  const wallet = createWalletClient({ transport: http(url), account });
  const live = createPublicClient({ transport: webSocket(ws) });
  const annex = (await client.request({ method: 'web3_clientVersion' })).startsWith('annex/');
  const mined = async (hash) => client.waitForTransactionReceipt({ hash });
  const { contractAddress: address } = await mined(await wallet.deployContract({ ...Token, args: ['Watched', 'W', 10n ** 18n], chain: null }));
  // Subscriptions tell what is sealed after them.
  await eventually('the seal', async () => (await client.getCode({ address, blockNumber: await client.getBlockNumber({ cacheTime: 0 }) })) !== undefined);

  const errors = [];
  const onError = (error) => errors.push(error);
  const seen = { heads: [], blocks: [], numbers: [], pending: [], events: [], contract: [] };
  const event = Token.abi.find(({ type, name }) => type === 'event' && name === 'Transfer');
  const stop = [
    live.watchBlocks({ onBlock: (block) => seen.blocks.push(block), onError, emitMissed: true }),
    live.watchBlockNumber({ onBlockNumber: (number) => seen.numbers.push(number), onError, emitMissed: true }),
    live.watchPendingTransactions({ onTransactions: (hashes) => seen.pending.push(...hashes), onError }),
    live.watchEvent({ address, event, args: { from: account.address }, onLogs: (logs) => seen.events.push(...logs), onError, strict: true }),
    live.watchContractEvent({ address, abi: Token.abi, eventName: 'Transfer', onLogs: (logs) => seen.contract.push(...logs), onError }),
  ];
  await live.transport.subscribe({ params: ['newHeads'], onData: ({ result }) => seen.heads.push(result), onError });
  // The subscriptions are requests on the same socket as this one, which is answered after them.
  await live.getChainId();

  const hashes = [];
  for (let i = 1n; i <= TRANSFERS; i += 1n) {
    const sent = await wallet.writeContract({ address, abi: Token.abi, functionName: 'transfer', args: [address, i], chain: null });
    hashes.push(sent);
    await mined(sent);
  }
  await eventually('every event', () => seen.events.length >= hashes.length && seen.contract.length >= hashes.length);
  const last = seen.events.at(-1).blockNumber;
  const told = () => [seen.heads, seen.blocks].every((blocks) => blocks.some(({ number }) => BigInt(number) === last));
  await eventually('the last block', () => told() && seen.numbers.includes(last));
  await eventually('every pending transaction', () => hashes.every((hash) => seen.pending.includes(hash)));
  for (const unwatch of stop) unwatch();

  for (const logs of [seen.events, seen.contract]) {
    assert.deepEqual(logs.map(({ transactionHash }) => transactionHash), hashes);
    assert.deepEqual(logs.map(({ args }) => args.value), [1n, 2n, 3n, 4n]);
  }
  const ours = seen.pending.filter((hash) => hashes.includes(hash));
  assert.deepEqual(ours, hashes, 'a pending transaction twice, or late');
  // One subscription tells every head once and in order, each on the one before, and viem passes their numbers on as they come.
  inOrder(seen.heads);
  consecutive(seen.numbers, 'a number is missing, or late');
  // The blocks themselves viem asks for one by one over the same socket: these answers may overtake each other, and only these.
  consecutive(seen.blocks.map(({ number }) => number).sort((a, b) => Number(a - b)), 'a block is missing');
  for (const block of seen.blocks.filter(({ number }) => number <= last)) {
    assert.equal((await client.getBlock({ blockNumber: block.number })).hash, block.hash);
  }
  // Nothing that was told is gone, nor did it move.
  for (const log of annex ? seen.events : []) {
    const receipt = await client.getTransactionReceipt({ hash: log.transactionHash });
    assert.deepEqual([receipt.blockHash, receipt.transactionIndex], [log.blockHash, log.transactionIndex]);
  }
  assert.deepEqual(errors, []);
  return { events: seen.events.map(({ args, topics, data }) => ({ args, topics, data })) };
});
