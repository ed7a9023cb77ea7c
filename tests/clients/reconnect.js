// A dapp whose node is killed and started again: viem's socket comes back, and nothing that it is told is stale.
// `node reconnect.js ANNEX_BINARY KEY FOLDER`; the key is a development account's.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { createPublicClient, createWalletClient, http, webSocket } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { eventually, inOrder, run, sleep } from './lib/run.js';

// A port that nobody listens on, below those that the system gives to clients.
async function freePort() {
  for (;;) {
    const port = 12_000 + (process.pid * 7 + Math.floor(performance.now() * 1_000)) % 8_000;
    const free = await new Promise((resolve) => {
      const server = createServer().once('error', () => resolve(false)).listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

async function start(binary, folder, port, l1Port) {
  const log = openSync(`${folder}/node.log`, 'a');
  const args = ['dev', '--port', port, '--l1-port', l1Port, '--l1-block-time', 1, '--data-dir', `${folder}/data`].map(String);
  const child = spawn(binary, args, { stdio: ['ignore', log, log] });
  process.once('exit', () => child.kill('SIGKILL'));
  await eventually('the node', async () => (await fetch(`http://127.0.0.1:${port}/health`).catch(() => null))?.status === 200, 60_000);
  return child;
}

// A load balancer: it accepts at once, and hands over when the node is there. (viem gives up for good when one attempt to connect
// again is refused.)
async function balance(port) {
  const server = createServer((client) => {
    let closed = false;
    client.on('error', () => {}).on('close', () => { closed = true; });
    const attempt = () => {
      const node = connect(port, '127.0.0.1');
      node.once('error', () => { if (!closed) setTimeout(attempt, 50); });
      node.once('connect', () => {
        node.on('error', () => client.destroy()).on('close', () => client.destroy());
        client.on('close', () => node.destroy());
        client.pipe(node).pipe(client);
      });
    };
    attempt();
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return server.address().port;
}

run(async ({ url: binary, key, ws: folder }) => {
  const [port, l1Port] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  let child = await start(binary, folder, port, l1Port);

  const account = privateKeyToAccount(key);
  const client = createPublicClient({ transport: http(url), pollingInterval: 50, cacheTime: 0 });
  const wallet = createWalletClient({ transport: http(url), account });
  await eventually('the deposit', async () => (await client.getBalance(account)) > 0n, 20_000);
  const live = createPublicClient({ transport: webSocket(`ws://127.0.0.1:${await balance(port)}`, { reconnect: { attempts: 100, delay: 200 }, retryCount: 0 }), cacheTime: 0 });
  // Of each connection.
  const heads = [[], []];
  let connection = 0;
  const pending = [];
  await live.transport.subscribe({ params: ['newHeads'], onData: ({ result }) => heads[connection].push(result), onError: () => {} });
  live.watchPendingTransactions({ onTransactions: (hashes) => pending.push(...hashes), onError: () => {} });
  await live.getChainId();
  const send = () => wallet.sendTransaction({ to: account.address, value: 1n, chain: null });
  const before = [await send(), await send()];
  await eventually('both, and their block', () => before.every((hash) => pending.includes(hash)) && heads[0].length > 0);
  before.push(await send());
  await eventually('another block', () => heads[0].length > 1);
  const told = await live.getTransactionCount({ address: account.address, blockTag: 'pending' });

  child.kill('SIGKILL');
  await new Promise((resolve) => { child.once('exit', resolve); });
  // What the socket still held is read by then, and nothing else comes before the node is there again.
  await sleep(200);
  connection = 1;
  child = await start(binary, folder, port, l1Port);

  // What was acknowledged is there, on the socket that broke too, and its answers go on from it.
  const alive = async () => live.getTransactionCount({ address: account.address, blockTag: 'pending' }).catch(() => null);
  const count = await eventually('the socket', alive, 20_000);
  assert.equal(count, told);
  for (const hash of before) assert.equal((await live.getTransactionReceipt({ hash })).status, 'success');
  const seen = pending.length;
  const sent = [await send(), await send()];
  assert.equal(await live.getTransactionCount({ address: account.address, blockTag: 'pending' }), told + 2);
  const receipts = await Promise.all(sent.map((hash) => client.waitForTransactionReceipt({ hash })));
  const [open, sealed] = await Promise.all([live.getBlock({ blockTag: 'pending' }), live.getBlock({ blockTag: 'latest' })]);
  assert.ok(open.number > sealed.number, 'the pending block is older than the newest');
  // The subscriptions were made again, and tell each transaction once.
  await eventually('what was sent since', () => sent.every((hash) => pending.includes(hash)));
  assert.deepEqual(pending.slice(seen), sent);
  const last = receipts.at(-1).blockNumber;
  const toldOf = (number) => () => heads[1].some((head) => BigInt(head.number) >= number);
  await eventually('its block', toldOf(last));
  await send();
  await eventually('the block after it', toldOf(last + 1n));
  // Each subscription is in order. Between the two, blocks may be missing, which were sealed when nobody listened; none comes
  // again, and none is older than what was told before.
  heads.forEach(inOrder);
  assert.ok(BigInt(heads[1][0].number) > BigInt(heads[0].at(-1).number), 'a block twice, or an old one');
  const all = heads.flat();
  for (const { hash, number } of all) assert.equal((await client.getBlock({ blockNumber: BigInt(number) })).hash, hash);
  child.kill('SIGTERM');
  await new Promise((resolve) => { child.once('exit', resolve); });
  return { heads: heads.map(({ length }) => length), told: told + 3 };
});
