// Runs the steps of a scenario on one chain through one client, and records all that can be observed of each.
import assert from 'node:assert/strict';
import { encodeFunctionData, keccak256 } from 'viem';
import { eventually } from './run.js';

const plain = (value) => JSON.parse(JSON.stringify(value ?? null, (_, v) => (typeof v === 'bigint' ? v.toString() : v)));

// A client that waits for something that does not come says nothing by itself.
async function within(limit, what, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`still waiting for ${what}`)), limit); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Transactions that somebody else has sent, with what they made.
export async function observe(chain, named) {
  const recorder = new Recorder(chain, [{ address: null }]);
  for (const [name, hash] of named) recorder.keep(name, await chain.receipt(hash), await chain.transaction(hash));
  await recorder.finish();
  return recorder.states();
}

export class Recorder {
  constructor(chain, accounts) {
    Object.assign(this, { chain, accounts, steps: [], contracts: new Map(), free: new Set(), ticking: false });
    this.me = accounts[0].address;
    this.last = 0n;
  }

  account(index) {
    return this.accounts[index ?? 0];
  }

  // From now on every transaction has a second of its own, as on a chain that mines each in one block: oracles look at it.
  tick() {
    this.ticking = true;
  }

  // Contracts whose storage roots may differ (compare.js says why).
  freeStorage(...contracts) {
    for (const { address } of contracts) this.free.add(address.toLowerCase());
  }

  async nextSecond() {
    if (!this.ticking) return;
    await eventually('the next second', async () => {
      const { timestamp } = await this.chain.request('eth_getBlockByNumber', 'pending', false);
      return BigInt(timestamp) > this.last;
    }, 60_000);
  }

  note(step) {
    assert.ok(!this.steps.some(({ name }) => name === step.name), `${step.name} twice`);
    this.steps.push(step);
    return step;
  }

  async transaction(name, hash, client, more) {
    // On Anvil, ethers waits for ever for a transaction that is mined between its first look and its first poll.
    if (!this.chain.annex) await this.chain.receipt(hash);
    const told = await within(20_000, `${name}: ${hash}`, client.wait(hash));
    const receipt = await this.chain.receipt(hash);
    assert.equal(told.gas, BigInt(receipt.gasUsed));
    const transaction = await this.chain.transaction(hash);
    if (this.ticking) {
      const block = await this.chain.request('eth_getBlockByNumber', receipt.blockNumber, false)
        ?? await this.chain.request('eth_getBlockByNumber', 'pending', false);
      assert.ok(BigInt(block.timestamp) > this.last, `${name} shares its second`);
      this.last = BigInt(block.timestamp);
    }
    return this.keep(name, receipt, transaction, { told: plain({ ...told, gas: undefined }), ...more });
  }

  keep(name, receipt, transaction, more) {
    for (const { address } of receipt.logs) if (!this.contracts.has(address)) this.contracts.set(address, `who spoke in ${name}`);
    if (receipt.contractAddress) this.contracts.set(receipt.contractAddress, name);
    return this.note({ name, kind: 'transaction', receipt, transaction, ...more });
  }

  async deploy(name, artifact, args = [], options = {}) {
    await this.nextSecond();
    const client = this.account(options.from);
    const { receipt } = await this.transaction(`deploy ${name}`, await client.deploy(artifact, args, options), client);
    assert.equal(receipt.status, '0x1', `deploy ${name}`);
    return { address: receipt.contractAddress, abi: artifact.abi };
  }

  // What a call returns before it is made, on the wire.
  async output({ address, abi }, functionName, args, options) {
    const call = { from: this.account(options.from).address, to: address, data: encodeFunctionData({ abi, functionName, args }), gas: '0x7a1200' };
    if (options.value) call.value = `0x${options.value.toString(16)}`;
    return this.chain.request('eth_call', call, 'latest').then(
      (result) => ({ result }), ({ code, text, data }) => ({ error: { code, message: text, data } }));
  }

  async send(name, contract, method, args, options = {}) {
    await this.nextSecond();
    const client = this.account(options.from);
    const output = await this.output(contract, method, args, options);
    const estimate = options.authorizationList ? undefined : await client.estimate(contract, method, args, options);
    const hash = await client.send(contract, method, args, options);
    const step = await this.transaction(name, hash, client, { output, estimate });
    assert.equal(step.receipt.status, '0x1', `${name} failed: ${JSON.stringify(output)}`);
    return step.receipt;
  }

  // A transaction that must fail, with what the node and the client say beforehand.
  async fails(name, contract, method, args, options = {}) {
    await this.nextSecond();
    const client = this.account(options.from);
    const output = await this.output(contract, method, args, options);
    const refusal = plain(await client.refusal(contract, method, args, options));
    const step = await this.transaction(name, await client.send(contract, method, args, options), client, { output, refusal });
    assert.equal(step.receipt.status, '0x0', `${name} succeeded`);
    assert.ok(output.error, name);
    return step.receipt;
  }

  async raw(name, transaction) {
    await this.nextSecond();
    const { free = false, ...request } = transaction;
    const client = this.account(request.from);
    const { receipt } = await this.transaction(name, await client.raw(request), client, { free });
    assert.equal(receipt.status, '0x1', name);
    return receipt;
  }

  async read(name, contract, method, args = [], options = {}) {
    const value = await this.account(options.from).read(contract, method, args, options);
    const output = await this.output(contract, method, args, options);
    this.note({ name, kind: 'read', value: plain(value), output });
    return Array.isArray(value) && value.length === 1 ? value[0] : value;
  }

  // Anything else that must be the same.
  same(name, value) {
    this.note({ name, kind: 'value', value: plain(value) });
  }

  // Once all blocks have hashes: nothing else about a receipt has changed; gas without data gas; the code and storage of
  // every contract that was made or spoke.
  async finish() {
    for (const step of this.steps.filter(({ kind }) => kind === 'transaction')) {
      const { chain } = this;
      const receipt = await chain.sealed(step.receipt.transactionHash);
      const unsealed = (r) => ({ ...r, blockHash: null, logs: r.logs.map((log) => ({ ...log, blockHash: null })) });
      assert.deepEqual(unsealed(receipt), unsealed(step.receipt), `${step.name}: the seal changed the receipt`);
      const block = await chain.request('eth_getBlockByNumber', receipt.blockNumber, false);
      assert.equal(block.hash, receipt.blockHash);
      assert.equal(block.transactions[Number(receipt.transactionIndex)], receipt.transactionHash);
      const baseFee = BigInt(block.baseFeePerGas);
      const { maxFeePerGas, maxPriorityFeePerGas, gasPrice } = step.transaction;
      const offered = maxFeePerGas ? baseFee + BigInt(maxPriorityFeePerGas) : BigInt(gasPrice);
      const limit = BigInt(maxFeePerGas ?? gasPrice);
      assert.equal(BigInt(receipt.effectiveGasPrice), offered < limit ? offered : limit, `${step.name}: price`);
      const raw = await chain.request('eth_getRawTransactionByHash', receipt.transactionHash);
      assert.equal(keccak256(raw), receipt.transactionHash);
      step.executionGas = BigInt(receipt.gasUsed) - await chain.dataGas(raw, receipt.blockNumber, baseFee);
      // Anvil estimates at the time of the block before, which oracles see.
      if (step.estimate !== undefined && chain.annex) {
        assert.ok(step.estimate >= BigInt(receipt.gasUsed), `${step.name}: estimate ${step.estimate}`);
      }
    }
    return this.steps;
  }

  // What became of every contract that was made or spoke, once no scenario sends any more.
  async states() {
    const addresses = [...this.contracts.keys()];
    const roots = await this.chain.storageRoots(addresses);
    for (const [i, address] of addresses.entries()) {
      const { codeHash, nonce } = await this.chain.request('eth_getProof', address, [], 'latest');
      const name = `state of ${address}: ${this.contracts.get(address)}`;
      this.note({ name, kind: 'state', codeHash, nonce, storageRoot: roots[i], free: this.free.has(address) });
    }
    return this.steps;
  }
}
