// Deposits with viem's op-stack actions, and its fee estimates. `node deposit.js URL KEY L1_URL`; the key has ether on both.
import assert from 'node:assert/strict';
import {
  concat, encodeDeployData, encodeFunctionData, getContractAddress, keccak256, multicall3Abi, parseAbi, parseEther, parseEventLogs, toHex,
} from 'viem';
import { getL2TransactionHashes } from 'viem/op-stack';
import { privateKeyToAddress } from 'viem/accounts';
import { Token } from './lib/contracts.js';
import { run } from './lib/run.js';
import { chains } from './lib/withdrawals.js';

const ETHER = parseEther('1');
const ALIAS = 0x1111000000000000000000000000000000001111n;
const L1_BLOCK = '0x4200000000000000000000000000000000000015';
const l1BlockAbi = parseAbi([
  'function number() view returns (uint64)', 'function basefee() view returns (uint256)', 'function blobBaseFee() view returns (uint256)',
  'function baseFeeScalar() view returns (uint64)', 'function blobBaseFeeScalar() view returns (uint64)',
]);
const portalAbi = parseAbi(['function depositTransaction(address to, uint256 value, uint64 gasLimit, bool isCreation, bytes data) payable']);

// The receipts on L2 of all that an L1 transaction deposited.
async function arrive({ publicL1, publicL2 }, hash) {
  const receipt = await publicL1.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, 'success');
  const hashes = getL2TransactionHashes(receipt);
  return Promise.all(hashes.map((l2) => publicL2.waitForTransactionReceipt({ hash: l2, timeout: 30_000 })));
}

async function deposit(chain, request) {
  const { account, l2, publicL1, walletL1 } = chain;
  // As its documentation says: prepared on L2, estimated and sent on L1.
  const gas = await publicL1.estimateDepositTransactionGas({ account, request, targetChain: l2 });
  const hash = await walletL1.depositTransaction({ request, targetChain: l2, gas: (gas * 6n) / 5n });
  const receipts = await arrive(chain, hash);
  assert.equal(receipts.length, 1);
  return receipts[0];
}

async function etherIn(chain, to) {
  const { account, publicL1, publicL2, l2 } = chain;
  const prepared = await publicL2.buildDepositTransaction({ account, mint: ETHER, to });
  const hash = await chain.walletL1.depositTransaction({ ...prepared, account, targetChain: l2 });
  const [receipt] = await arrive(chain, hash);
  assert.equal(receipt.status, 'success');
  assert.equal(await publicL2.getBalance({ address: to }), ETHER);
  const transaction = await publicL2.getTransaction({ hash: receipt.transactionHash });
  assert.equal(transaction.typeHex, '0x7e');
  assert.equal(transaction.type, 'deposit');
  assert.equal(transaction.mint, ETHER);
  assert.equal(transaction.isSystemTx, false);
  // spec/block.md: of the record on L1, so that it survives a reorganisation of L1.
  assert.match(transaction.sourceHash, /^0x[0-9a-f]{64}$/);
  return receipt.gasUsed;
}

// A call, a creation and a failure: the ether arrives in every case.
async function calls(chain) {
  const { account, publicL2 } = chain;
  const me = account.address;
  const nonce = await publicL2.getTransactionCount({ address: me });
  const data = encodeDeployData({ abi: Token.abi, bytecode: Token.bytecode, args: ['Deposited', 'DEP', ETHER] });
  const created = await deposit(chain, { data, gas: 3_000_000n, isCreation: true });
  assert.equal(created.status, 'success');
  const token = getContractAddress({ from: me, nonce: BigInt(nonce) });
  assert.equal(created.contractAddress?.toLowerCase(), token.toLowerCase());

  const transfer = encodeFunctionData({ abi: Token.abi, functionName: 'transfer', args: [L1_BLOCK, 5n] });
  const called = await deposit(chain, { data: transfer, gas: 200_000n, to: token });
  assert.equal(called.status, 'success');
  const [event] = parseEventLogs({ abi: Token.abi, eventName: 'Transfer', logs: called.logs });
  assert.deepEqual(event.args, { from: me, to: L1_BLOCK, value: 5n });

  const before = await publicL2.getBalance({ address: me });
  const greedy = encodeFunctionData({ abi: Token.abi, functionName: 'transfer', args: [L1_BLOCK, 5n * ETHER] });
  const failed = await deposit(chain, { data: greedy, gas: 200_000n, to: token, mint: 7n, value: 0n });
  assert.equal(failed.status, 'reverted');
  assert.equal(await publicL2.getBalance({ address: me }), before + 7n);
}

// Two deposits of a contract in one transaction: its address is aliased.
async function twice(chain) {
  const { contracts, publicL2, walletL1 } = chain;
  const to = contracts.multicall3;
  const call = (value) => ({
    target: contracts.portal, allowFailure: false, value,
    callData: encodeFunctionData({ abi: portalAbi, functionName: 'depositTransaction', args: [to, value, 100_000n, false, '0x'] }),
  });
  const hash = await walletL1.writeContract({
    address: contracts.multicall3, abi: [...multicall3Abi, ...parseAbi([
      'function aggregate3Value((address target, bool allowFailure, uint256 value, bytes callData)[] calls) payable returns ((bool, bytes)[])'])],
    functionName: 'aggregate3Value', args: [[call(3n), call(4n)]], value: 7n,
  });
  const receipts = await arrive(chain, hash);
  assert.equal(receipts.length, 2);
  const alias = `0x${((BigInt(contracts.multicall3) + ALIAS) % 2n ** 160n).toString(16).padStart(40, '0')}`;
  for (const receipt of receipts) assert.equal(receipt.from, alias);
  const minted = await Promise.all(receipts.map(async ({ transactionHash }) => (await publicL2.getTransaction({ hash: transactionHash })).mint));
  assert.deepEqual(minted, [3n, 4n]);
}

async function fees({ account, publicL2 }) {
  const read = (functionName) => publicL2.readContract({ address: L1_BLOCK, abi: l1BlockAbi, functionName });
  const request = { account, to: account.address, value: 1n };
  const token = { account, address: L1_BLOCK, abi: l1BlockAbi, functionName: 'number' };
  // All of one L1 block's prices.
  for (;;) {
    const origin = await read('number');
    const [base, blob, baseScalar, blobScalar, l1Fee, l1Base, operator, gas, total, totalGas, price, contractFee] = await Promise.all([
      read('basefee'), read('blobBaseFee'), read('baseFeeScalar'), read('blobBaseFeeScalar'),
      publicL2.estimateL1Fee(request), publicL2.getL1BaseFee(), publicL2.estimateOperatorFee(request), publicL2.estimateL1Gas(request),
      publicL2.estimateTotalFee(request), publicL2.estimateTotalGas(request), publicL2.getGasPrice(), publicL2.estimateContractL1Fee(token),
    ]);
    if (await read('number') !== origin) continue;
    // A transfer is as small as a transaction can be: 100 bytes by the formula.
    const byteCost = base * baseScalar + blob * blobScalar;
    assert.equal(l1Fee, (100_000_000n * byteCost + 10n ** 12n - 1n) / 10n ** 12n);
    assert.equal(l1Base, base);
    assert.equal(operator, 0n);
    assert.equal(gas, 1_600n);
    assert.ok(contractFee >= l1Fee);
    // These add the data fee to a gas estimate that has it already: too much, but never too little.
    assert.ok(total >= l1Fee + 21_000n * (price - price / 10n), `${total}`);
    assert.ok(totalGas >= 21_000n + gas);
    return { l1Fee, total };
  }
}

run(async ({ url, key, ws: l1Url }) => {
  const chain = await chains(url, l1Url, key);
  const nonce = await chain.publicL1.getTransactionCount({ address: chain.account.address });
  const to = privateKeyToAddress(keccak256(concat([key, toHex(nonce, { size: 8 })])));
  const gas = await etherIn(chain, to);
  await calls(chain);
  await twice(chain);
  return { gas, fees: await fees(chain) };
});
