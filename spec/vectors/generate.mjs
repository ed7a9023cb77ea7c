#!/usr/bin/env node
// Writes batch.json, promise.json, fees.json and headers.json from the text of spec/ alone; it shares no code with the node,
// whose tests read its output. Needs Node 20 and keccak from contracts/node_modules (`npm ci --prefix contracts`).
//   node spec/vectors/generate.mjs            writes
//   node spec/vectors/generate.mjs --check    fails where a committed file differs
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(path.join(here, '../../contracts/package.json'));
const { keccak_256 } = require('@noble/hashes/sha3');

const hex = (b) => `0x${Buffer.from(b).toString('hex')}`;
const bytes = (h) => Buffer.from(h.slice(2), 'hex');
const keccak = (b) => Buffer.from(keccak_256(b));
const cat = (...parts) => Buffer.concat(parts.map((p) => Buffer.from(p)));
const quantity = (n) => `0x${BigInt(n).toString(16)}`;
const big = (n, width) => bytes(`0x${BigInt(n).toString(16).padStart(2 * width, '0')}`);
const word = (n) => big(n, 32);
const trimmed = (n) => (BigInt(n) === 0n ? Buffer.alloc(0) : bytes(`0x${evenHex(n)}`));
const evenHex = (n) => { const h = BigInt(n).toString(16); return h.length % 2 ? `0${h}` : h; };
// Bytes that look random and are the same everywhere.
function filler(seed, length) {
  const out = [];
  for (let i = 0; out.length < length; i++) out.push(...keccak(Buffer.from(`${seed}/${i}`)));
  return Buffer.from(out.slice(0, length));
}

// RLP of buffers and lists.
function rlp(x) {
  if (Array.isArray(x)) return prefixed(cat(...x.map(rlp)), 0xc0);
  return x.length === 1 && x[0] < 0x80 ? x : prefixed(x, 0x80);
}
function prefixed(body, base) {
  if (body.length < 56) return cat([base + body.length], body);
  const len = trimmed(body.length);
  return cat([base + 55 + len.length], len, body);
}
const int = (n) => trimmed(n);

// ---- batches -------------------------------------------------------------------------------------------------------
const CHAIN = 901n;

function eip2718(tx) {
  const to = tx.to ? bytes(tx.to) : Buffer.alloc(0);
  const sig = [int(tx.r), int(tx.s)];
  const list = (tx.accessList ?? []).map((a) => [bytes(a.address), a.storageKeys.map(bytes)]);
  switch (tx.type) {
    case 'legacy': {
      const v = tx.chainId === null ? 27n + BigInt(tx.yParity) : 35n + 2n * BigInt(tx.chainId) + BigInt(tx.yParity);
      return rlp([int(tx.nonce), int(tx.gasPrice), int(tx.gasLimit), to, int(tx.value), bytes(tx.input), int(v), ...sig]);
    }
    case 'eip2930':
      return cat([1], rlp([int(tx.chainId), int(tx.nonce), int(tx.gasPrice), int(tx.gasLimit), to, int(tx.value), bytes(tx.input), list, int(tx.yParity), ...sig]));
    case 'eip1559':
      return cat([2], rlp([int(tx.chainId), int(tx.nonce), int(tx.tip), int(tx.fee), int(tx.gasLimit), to, int(tx.value), bytes(tx.input), list, int(tx.yParity), ...sig]));
    case 'eip7702': {
      const auth = tx.authorizations.map((a) => [int(a.chainId), bytes(a.address), int(a.nonce), int(a.yParity), int(a.r), int(a.s)]);
      return cat([4], rlp([int(tx.chainId), int(tx.nonce), int(tx.tip), int(tx.fee), int(tx.gasLimit), to, int(tx.value), bytes(tx.input), list, auth, int(tx.yParity), ...sig]));
    }
    default: throw new Error(tx.type);
  }
}

function varint(n) {
  let v = BigInt(n);
  const out = [];
  while (v >= 128n) { out.push(Number(v & 127n) | 128); v >>= 7n; }
  out.push(Number(v));
  return Buffer.from(out);
}

const NAMES = ['timestamps', 'beneficiaries', 'flags', 'origins', 'forced', 'counts', 'kinds', 'nonces', 'gasLimits', 'tips', 'fees',
  'to', 'values', 'inputLengths', 'inputs', 'signatures', 'rawLengths', 'raw'];

function content(batch) {
  const c = Object.fromEntries(NAMES.map((n) => [n, []]));
  let [timestamp, origin, beneficiary] = [0n, 0n, null];
  for (const b of batch.blocks) {
    c.timestamps.push(varint(BigInt(b.timestamp) - timestamp));
    c.origins.push(varint(BigInt(b.origin) - origin));
    c.forced.push(varint(b.forced));
    c.counts.push(varint(b.transactions.length));
    const isNew = beneficiary !== b.beneficiary;
    c.flags.push([isNew ? 1 : 0]);
    if (isNew) c.beneficiaries.push(bytes(b.beneficiary));
    [timestamp, origin, beneficiary] = [BigInt(b.timestamp), BigInt(b.origin), b.beneficiary];
    for (const tx of b.transactions) transaction(c, tx);
  }
  const columns = NAMES.map((n) => cat(...c[n])).map((col) => cat(varint(col.length), col));
  return cat(bytes(batch.parentHash), varint(batch.blocks.length), ...columns);
}

function transaction(c, tx) {
  const plain1559 = tx.type === 'eip1559' && BigInt(tx.chainId) === CHAIN && tx.accessList.length === 0;
  const plainLegacy = tx.type === 'legacy' && tx.chainId !== null && BigInt(tx.chainId) === CHAIN;
  if (!plain1559 && !plainLegacy) {
    const raw = eip2718(tx);
    c.kinds.push([0]);
    c.rawLengths.push(varint(raw.length));
    c.raw.push(raw);
    return;
  }
  c.kinds.push([(plain1559 ? 1 : 2) | (tx.to ? 0 : 0x40) | (tx.yParity ? 0x80 : 0)]);
  c.nonces.push(varint(tx.nonce));
  c.gasLimits.push(varint(tx.gasLimit));
  if (plain1559) c.tips.push(varint(tx.tip));
  c.fees.push(varint(plain1559 ? tx.fee : tx.gasPrice));
  if (tx.to) c.to.push(bytes(tx.to));
  const value = trimmed(tx.value);
  c.values.push(cat([value.length], value));
  c.inputLengths.push(varint(bytes(tx.input).length));
  c.inputs.push(bytes(tx.input));
  c.signatures.push(cat(word(tx.r), word(tx.s)));
}

// A zstd frame (RFC 8878) of raw blocks: single segment, four bytes of content size, no checksum.
function rawFrame(data) {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(data.length);
  const parts = [[0x28, 0xb5, 0x2f, 0xfd, 0xa0], size];
  const BLOCK = 128 * 1024;
  for (let at = 0; at === 0 || at < data.length; at += BLOCK) {
    const block = data.subarray(at, at + BLOCK);
    const header = (block.length << 3) | (at + BLOCK >= data.length ? 1 : 0);
    parts.push([header & 255, (header >> 8) & 255, header >> 16], block);
  }
  return cat(...parts);
}

function pack(data) {
  const stream = cat(big(data.length, 4), data);
  const blobs = [];
  for (let at = 0; at < stream.length; at += 4096 * 31) {
    const blob = Buffer.alloc(131072);
    for (let j = 0; j < 4096; j++) blob.set(stream.subarray(at + 31 * j, at + 31 * (j + 1)), 32 * j + 1);
    blobs.push(blob);
  }
  return blobs;
}

function tx(seed, type, over = {}) {
  const f = (name, n) => BigInt(hex(filler(`${seed}/${name}`, n)));
  return {
    type, chainId: 901, nonce: quantity(f('nonce', 1)), gasLimit: 21000, gasPrice: quantity(f('price', 5)), tip: quantity(f('tip', 4)),
    fee: quantity(f('fee', 5)), to: hex(filler(`${seed}/to`, 20)), value: quantity(f('value', 8)), input: '0x', accessList: [],
    authorizations: [], yParity: Number(f('y', 1) & 1n), r: quantity(f('r', 32)), s: quantity(f('s', 31)), ...over,
  };
}

const A = hex(filler('beneficiary a', 20));
const B = hex(filler('beneficiary b', 20));
const list = [{ address: hex(filler('listed', 20)), storageKeys: [hex(filler('key 1', 32)), hex(filler('key 2', 32))] }];
const authorization = { chainId: 901, address: hex(filler('delegate', 20)), nonce: 5, yParity: 1, r: quantity(7), s: quantity(9) };
const MAX128 = quantity((1n << 128n) - 1n);
const MAX64 = quantity((1n << 64n) - 1n);
const MAX256 = quantity((1n << 256n) - 1n);

const batches = [
  { name: 'no blocks', parentHash: hex(filler('parent 0', 32)), blocks: [] },
  { name: 'one forced item', parentHash: hex(filler('parent 1', 32)), blocks: [{ timestamp: 1760000012, beneficiary: A, origin: 1, forced: 1, transactions: [] }] },
  {
    name: 'every kind', parentHash: hex(filler('parent 2', 32)), blocks: [
      { timestamp: 1760000024, beneficiary: A, origin: 3, forced: 0, transactions: [
        tx('a', 'eip1559'), tx('b', 'legacy', { yParity: 1 }), tx('c', 'legacy', { chainId: null }), tx('d', 'legacy', { chainId: 1 }),
        tx('e', 'eip1559', { to: null, input: hex(filler('init code', 300)), value: '0x0' }), tx('f', 'legacy', { to: null, input: '0x00', yParity: 0 }) ] },
      { timestamp: 1760000024, beneficiary: A, origin: 3, forced: 2, transactions: [
        tx('g', 'eip2930', { accessList: list }), tx('h', 'eip1559', { accessList: list }), tx('i', 'eip7702', { authorizations: [authorization] }),
        tx('j', 'eip1559', { chainId: 1 }), tx('k', 'eip2930') ] },
      { timestamp: 1760000130, beneficiary: B, origin: 300, forced: 200, transactions: [] },
      { timestamp: 1760000130, beneficiary: A, origin: 300, forced: 0, transactions: [
        tx('l', 'eip1559', { nonce: MAX64, gasLimit: MAX64, tip: MAX128, fee: MAX128, value: MAX256, r: MAX256, s: MAX256 }),
        tx('m', 'eip1559', { nonce: 0, gasLimit: 0, tip: 0, fee: 0, value: 0, r: 0, s: 0 }), tx('n', 'legacy', { gasPrice: MAX128 }) ] },
    ],
  },
  {
    name: 'an input of 140,000 times 0x5a', parentHash: hex(filler('parent 3', 32)), blocks: [
      { timestamp: 1760000200, beneficiary: B, origin: 300, forced: 0, transactions: [tx('o', 'eip1559', { input: hex(Buffer.alloc(140000, 0x5a)) })] } ],
  },
];

// Long ones as hashes only: their one transaction's input is 140,000 times 0x5a, which the name says.
function batchVector(b) {
  const body = content(b);
  const payload = cat([0], rawFrame(body));
  const long = body.length > 10000;
  const encoded = b.blocks.flatMap((block) => block.transactions).map(eip2718);
  return {
    name: b.name,
    parentHash: b.parentHash,
    blocks: b.blocks.map((block) => ({ ...block, transactions: block.transactions.length })),
    transactionHashes: encoded.map((t) => hex(keccak(t))),
    contentHash: hex(keccak(body)),
    payloadHash: hex(keccak(payload)),
    blobHashes: pack(payload).map((x) => hex(keccak(x))),
    ...(long ? { transaction: hex(eip2718({ ...b.blocks[0].transactions[0], input: '0x' })) } : { transactions: encoded.map(hex), content: hex(body), payload: hex(payload) }),
  };
}

// What must be refused, by name.
const good = content(batches[1]);
const frame = (body) => cat([0], rawFrame(body));
const refused = [
  { error: 'Version', data: cat([1], rawFrame(good)) },
  { error: 'Compression', data: cat([0], [0x28, 0xb5]) },
  { error: 'Compression', data: cat(frame(good), [0]) },
  { error: 'Compression', data: cat(frame(good), rawFrame(good)) },
  { error: 'Compression', data: cat([0], [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], rawFrame(good)) },
  { error: 'Truncated', data: frame(good.subarray(0, good.length - 1)) },
  { error: 'Truncated', data: frame(good.subarray(0, 20)) },
  { error: 'Trailing', data: frame(cat(good, [0])) },
  { error: 'TooManyBlocks', data: frame(cat(good.subarray(0, 32), varint(4097))) },
  { error: 'Varint', data: frame(cat(good.subarray(0, 32), [0x81, 0x00])) },
  { error: 'Varint', data: frame(cat(good.subarray(0, 32), Buffer.alloc(10, 0xff))) },
].map((r) => ({ error: r.error, data: hex(r.data) }));

const batch = { l2ChainId: 901, batches: batches.map(batchVector), refused };

// ---- promises ------------------------------------------------------------------------------------------------------
const PROMISE = 'Promise(uint64 l2ChainId,uint256 leaseId,uint64 sequence,bytes32 previous,uint64 blockNumber,uint64 timestamp,address beneficiary,uint256 baseFee,bytes32 origin,uint32 firstIndex,uint32 count,bytes32 root)';
const DOMAIN = 'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)';
const tag = (s) => keccak(Buffer.from(s));
const LEASE = hex(filler('lease', 20));
const separator = keccak(cat(tag(DOMAIN), tag('Annex'), tag('1'), word(900), word(LEASE)));
const FIELDS = ['l2ChainId', 'leaseId', 'sequence', 'previous', 'blockNumber', 'timestamp', 'beneficiary', 'baseFee', 'origin', 'firstIndex', 'count', 'root'];
const digest = (p) => keccak(cat([0x19, 0x01], separator, keccak(cat(tag(PROMISE), ...FIELDS.map((f) => word(p[f]))))));
const leaf = (t, r) => keccak(cat([0], t, r));
function root(leaves) {
  if (leaves.length === 0) return Buffer.alloc(32);
  if (leaves.length === 1) return leaves[0];
  const next = [];
  for (let i = 0; i < leaves.length; i += 2) next.push(i + 1 < leaves.length ? keccak(cat([1], leaves[i], leaves[i + 1])) : leaves[i]);
  return root(next);
}
const promises = [];
let previous = Buffer.alloc(32);
for (const [sequence, count] of [0, 1, 2, 3, 4, 5, 7, 8, 13].entries()) {
  const group = Array.from({ length: count }, (_, i) => ({ txHash: filler(`tx ${sequence}/${i}`, 32), receiptHash: filler(`receipt ${sequence}/${i}`, 32) }));
  const promise = {
    l2ChainId: 901, leaseId: 1, sequence, previous: hex(previous), blockNumber: 17 + sequence, timestamp: 1760000100 + sequence,
    beneficiary: hex(filler('beneficiary', 20)), baseFee: quantity(10_000_000n + BigInt(sequence)), origin: hex(filler(`origin ${sequence}`, 32)),
    firstIndex: 3 * sequence, count, root: hex(root(group.map((g) => leaf(g.txHash, g.receiptHash)))),
  };
  previous = digest(promise);
  promises.push({ ...promise, transactions: group.map((g) => ({ txHash: hex(g.txHash), receiptHash: hex(g.receiptHash) })), digest: hex(previous) });
}
const promise = { l1ChainId: 900, lease: LEASE, promises };

// ---- base fee ------------------------------------------------------------------------------------------------------
const T = 480_000_000n;
function fakeExponential(factor, numerator, denominator) {
  let [i, output, accum] = [1n, 0n, factor * denominator];
  while (accum > 0n) { output += accum; accum = (accum * numerator) / (denominator * i); i += 1n; }
  return output / denominator;
}
const nextExcess = (parent, gasUsed, elapsed, target) => {
  const x = parent + gasUsed - target * elapsed;
  const cap = 25n * 17n * target;
  return x < 0n ? 0n : x > cap ? cap : x;
};
const feeCases = [];
for (const target of [T, 1_000_000n, 15_000_000n]) {
  let excess = 0n;
  for (const [gasUsed, elapsed] of [[0n, 0n], [30_000_000n, 0n], [960_000_000n, 1n], [30_000_000n, 0n], [960_000_000n, 0n], [960_000_000n, 0n], [960_000_000n, 0n],
    [21_000n, 1n], [30_000_000n, 7n], [10_000_000_000n, 0n], [100_000_000_000n, 2n], [1_000_000_000_000n, 0n], [1n, 0n], [0n, 1n], [0n, 100n], [0n, 600n], [0n, 1_000_000n]]) {
    const next = nextExcess(excess, gasUsed, elapsed, target);
    feeCases.push({ target: quantity(target), parentExcess: quantity(excess), parentGasUsed: quantity(gasUsed), elapsed: quantity(elapsed), excess: quantity(next), baseFee: quantity(fakeExponential(10_000_000n, next, 17n * target)) });
    excess = next;
  }
}
const fees = { cases: feeCases };

// ---- headers -------------------------------------------------------------------------------------------------------
const extraCases = [[0, 0, 0, 0], [1, 2, 3, 4], [300, 70000, 8_160_000_000, 32], [(1n << 64n) - 1n, (1n << 64n) - 1n, (1n << 64n) - 1n, 65535]].map(([origin, forcedCount, excess, blocksInSecond]) => ({
  origin: quantity(origin), forcedCount: quantity(forcedCount), excess: quantity(excess), blocksInSecond,
  extraData: hex(cat([0], big(origin, 8), big(forcedCount, 8), big(excess, 8), big(blocksInSecond, 2))),
}));
const randao = [0, 1, 255, 256, 70000].map((number) => {
  const accumulator = filler(`accumulator ${number}`, 32);
  return { accumulator: hex(accumulator), number, prevRandao: hex(keccak(cat(accumulator, big(number, 8)))) };
});
const inbox = hex(filler('inbox', 20));
const sourceHashes = [0, 1, 300, 2 ** 40].map((forcedIndex) => ({
  forcedIndex, sourceHash: hex(keccak(cat(word(0), keccak(cat(word(inbox), word(forcedIndex)))))),
}));
const headers = {
  extraData: extraCases, refusedExtraData: ['0x', hex(Buffer.alloc(26)), hex(Buffer.alloc(28)), hex(cat([1], Buffer.alloc(26)))],
  prevRandao: randao, inbox, sourceHashes,
};

// ---- files ---------------------------------------------------------------------------------------------------------
let stale = false;
for (const [name, value] of Object.entries({ batch, promise, fees, headers })) {
  const file = path.join(here, `${name}.json`);
  const text = `${JSON.stringify(value, null, 2)}\n`;
  if (!process.argv.includes('--check')) fs.writeFileSync(file, text);
  else if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text) { console.error(`${name}.json differs`); stale = true; }
}
process.exit(stale ? 1 : 0);
