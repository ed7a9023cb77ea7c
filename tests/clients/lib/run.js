import assert from 'node:assert/strict';

// How each script is started: `node SCRIPT URL PRIVATE_KEY [WS_URL]`. It prints one JSON value, what it observed.
export function run(main) {
  const [url, key, ws] = process.argv.slice(2);
  main({ url, key, ws }).then(
    (observed) => {
      const text = JSON.stringify(observed, (_, value) => (typeof value === 'bigint' ? value.toString() : value));
      process.stdout.write(`${text}\n`, () => process.exit(0));
    },
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

// What must be the same on every chain, given the same sender and nonces: gas and blocks are not.
export function outcome(receipt) {
  const succeeded = receipt.status === 'success' || Number(receipt.status) === 1;
  const logs = receipt.logs.map((log) => ({
    address: log.address.toLowerCase(),
    topics: [...log.topics],
    data: log.data,
  }));
  return { succeeded, logs };
}

export function sleep(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}

// Waits until `probe` yields something, for at most ten seconds unless told.
export async function eventually(what, probe, limit = 10_000) {
  const deadline = Date.now() + limit;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`still waiting for ${what}`);
    await sleep(20);
  }
}

// Numbers without a gap, each after the one before.
export function consecutive(numbers, what) {
  assert.deepEqual(numbers, numbers.map((_, i) => numbers[0] + BigInt(i)), what);
}

// What one subscription of `newHeads` told: every head once, on the one before.
export function inOrder(heads) {
  consecutive(heads.map(({ number }) => BigInt(number)), 'a head is missing, twice, or late');
  heads.slice(1).forEach(({ parentHash }, i) => assert.equal(parentHash, heads[i].hash, 'a head on another one'));
}

// Anvil estimates gas at the newest block's time, so that an estimate for Uniswap, whose oracle works once per timestamp, is too low
// when the transaction runs a second later. There, transactions name a limit instead; undefined means an estimate.
export async function gasLimit(url) {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'web3_clientVersion', params: [] });
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  const { result } = await answer.json();
  return result.startsWith('anvil/') ? 3_000_000n : undefined;
}
