// One chain of a comparison: JSON-RPC as it is on the wire, and the part of a receipt's gas that pays for L1 (spec/fees.md).
import { createRequire } from 'node:module';
import { gunzipSync } from 'node:zlib';
import { encodeFunctionData, parseAbi } from 'viem';
import { eventually } from './run.js';
import { storageRoot } from './trie.js';

// FastLZ as its authors ported it, not as the node has it.
const { LibZip } = createRequire(import.meta.url)('../../../contracts/node_modules/solady/js/solady.js');

const L1_BLOCK = '0x4200000000000000000000000000000000000015';
const ORACLE = '0x420000000000000000000000000000000000000F';
const oracleAbi = parseAbi(['function dataGas(bytes) view returns (uint256)']);
const l1Abi = parseAbi([
  'function basefee() view returns (uint256)', 'function blobBaseFee() view returns (uint256)',
  'function baseFeeScalar() view returns (uint64)', 'function blobBaseFeeScalar() view returns (uint64)',
]);

const bytes = (hex) => hex.length / 2 - 1;
const ceilDiv = (a, b) => (a + b - 1n) / b;

export class RpcError extends Error {
  constructor(method, { code, message, data }) {
    super(`${method}: ${code} ${message}`);
    Object.assign(this, { code, text: message, data });
  }
}

export class Chain {
  constructor(url) {
    this.url = url;
    this.prices = new Map();
  }

  static async open(url) {
    const chain = new Chain(url);
    chain.version = await chain.request('web3_clientVersion');
    chain.annex = chain.version.startsWith('annex/');
    chain.name = chain.annex ? 'annex' : 'anvil';
    chain.id = Number(await chain.request('eth_chainId'));
    return chain;
  }

  async request(method, ...params) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const answer = await fetch(this.url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const { result, error } = await answer.json();
    if (error) throw new RpcError(method, error);
    return result;
  }

  async receipt(hash) {
    return eventually(`the receipt of ${hash}`, () => this.request('eth_getTransactionReceipt', hash));
  }

  // As it was mined: Anvil tells of it as of one that waits for a moment after it has a receipt.
  async transaction(hash) {
    return eventually(`the transaction ${hash}`, async () => {
      const transaction = await this.request('eth_getTransactionByHash', hash);
      return (this.annex || transaction?.blockNumber) && transaction;
    });
  }

  // The receipt once its block has a hash: at once, but for Annex.
  async sealed(hash) {
    return eventually(`the seal of ${hash}`, async () => {
      const receipt = await this.request('eth_getTransactionReceipt', hash);
      return receipt !== null && BigInt(receipt.blockHash) !== 0n && receipt;
    }, 20_000);
  }

  call(to, abi, functionName, args, block) {
    return this.request('eth_call', { to, data: encodeFunctionData({ abi, functionName, args }) }, block).then(BigInt);
  }

  // What L1 costs in a block: constant in it, so asked once.
  async byteCost(number) {
    if (!this.prices.has(number)) {
      const names = ['basefee', 'blobBaseFee', 'baseFeeScalar', 'blobBaseFeeScalar'];
      this.prices.set(number, Promise.all(names.map((name) => this.call(L1_BLOCK, l1Abi, name, [], number)))
        .then(([base, blob, baseScalar, blobScalar]) => baseScalar * base + blobScalar * blob));
    }
    return this.prices.get(number);
  }

  // Data gas of a signed transaction in the block `number` with that base fee; zero where the chain has no L1. Computed
  // from the specification's formula; the chain's own oracle must agree.
  async dataGas(raw, number, baseFee) {
    if (!this.annex) return 0n;
    const estimate = 836_500n * BigInt(bytes(LibZip.flzCompress(raw))) - 42_585_600n;
    const size = estimate > 100_000_000n ? estimate : 100_000_000n;
    const fee = ceilDiv(size * await this.byteCost(number), 10n ** 12n);
    const gas = ceilDiv(fee, baseFee);
    const told = await this.call(ORACLE, oracleAbi, 'dataGas', [raw], number);
    if (told !== gas) throw new Error(`data gas in block ${number}: ${gas} by the formula, ${told} by the oracle`);
    return gas;
  }

  // What an account's storage hashes to. Anvil hashes slots that are zero too, if a transaction has read or cleared them: its roots
  // are computed here.
  async storageRoots(addresses) {
    if (this.annex) {
      const proofs = await Promise.all(addresses.map((address) => this.request('eth_getProof', address, [], 'latest')));
      return proofs.map(({ storageHash }) => storageHash);
    }
    this.dump ??= this.request('anvil_dumpState').then((hex) => JSON.parse(gunzipSync(Buffer.from(hex.slice(2), 'hex'))));
    const { accounts } = await this.dump;
    return addresses.map((address) => storageRoot(accounts[address.toLowerCase()].storage));
  }

  // Anvil lacks what Annex has from genesis.
  async predeploy(address, code) {
    if (!this.annex) await this.request('anvil_setCode', address, code);
  }
}
