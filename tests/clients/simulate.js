// `eth_simulateV1` on Annex and on Anvil, call by call: `node simulate.js ANNEX_URL KEY ANVIL_URL`. Everything that is called, and
// whoever pays, is made by overrides, so that both simulate the same on chains that differ.
import { concat, encodeDeployData, encodeFunctionData, getContractAddress, keccak256, toHex } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import { Chain } from './lib/chain.js';
import { Comparison } from './lib/compare.js';
import { Token } from './lib/contracts.js';
import { run } from './lib/run.js';

const ETHER = 10n ** 18n;
const GAS = toHex(1_000_000);
const RECEIVER = '0x00000000000000000000000000000000000000b0';
// Multicall3, ERC-4337 and others rest on it: both chains have it.
const FACTORY = '0x4e59b44847b379578588920ca78fbf26c0b4956c';
const CODE = '0x00000000000000000000000000000000000000c0';
const MINER = '0x00000000000000000000000000000000000000d0';

const word = (value) => toHex(value, { size: 32 });
// PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN.
const returning = (code) => concat([code, '0x60005260206000f3']);
const revertWith = (data) => {
  const size = toHex(data.length / 2 - 1, { size: 1 });
  // CODECOPY of what follows, which is twelve bytes in, and REVERT.
  return concat(['0x60', size, '0x600c60003960', size, '0x6000fd', data]);
};
const ERROR = `0x08c379a0${word(32).slice(2)}${word(4).slice(2)}${'6e6f7065'.padEnd(64, '0')}`;
const PANIC = `0x4e487b71${word(17).slice(2)}`;

function cases(sender, head) {
  const call = (to, input = '0x', more = {}) => ({ from: sender, to, input, gas: GAS, ...more });
  const rich = { [sender]: { balance: toHex(ETHER) } };
  const fixed = { time: toHex(4_000_000_000), feeRecipient: MINER, gasLimit: toHex(30_000_000), baseFeePerGas: toHex(7) };
  const block = (calls, more = {}) => ({ calls, blockOverrides: fixed, stateOverrides: rich, ...more });
  const later = (calls, seconds, more = {}) => ({ calls, blockOverrides: { ...fixed, time: toHex(4_000_000_000 + seconds) }, ...more });
  const running = (code, calls = [call(CODE)], more = {}) => block(calls, { stateOverrides: { ...rich, [CODE]: { code } }, ...more });
  const deployment = encodeDeployData({ ...Token, args: ['Simulated', 'S', 1_000n] });
  const token = getContractAddress({ opcode: 'CREATE2', from: FACTORY, salt: word(0), bytecode: deployment });
  const of = (functionName, ...args) => encodeFunctionData({ abi: Token.abi, functionName, args });
  // Without `to`, Anvil takes no call. All the supply is the factory's, in whose name anybody may simulate.
  const deploy = call(FACTORY, concat([word(0), deployment]), { gas: toHex(5_000_000) });
  const owner = (input) => ({ ...call(token, input), from: FACTORY });
  const valid = (more, state = {}) => ({
    blockStateCalls: [block([{ ...call(RECEIVER, '0x', { value: '0x1', maxFeePerGas: '0x7' }), ...more }],
      { stateOverrides: { [sender]: { balance: toHex(ETHER), nonce: '0x5', ...state } } })],
    validation: true,
  });
  const environment = { TIMESTAMP: '42', COINBASE: '41', PREVRANDAO: '44', BASEFEE: '48', GASLIMIT: '45', CHAINID: '46', GASPRICE: '3a', ORIGIN: '32', CALLER: '33' };
  return {
    'a transfer': { blockStateCalls: [block([call(RECEIVER, '0x', { value: '0x1' })])] },
    'transfers told as logs': {
      blockStateCalls: [block([call(RECEIVER, '0x', { value: '0x1' }), call(RECEIVER, '0x', { value: '0x2' })])], traceTransfers: true,
    },
    'a token, made and used over two blocks': {
      blockStateCalls: [
        block([deploy, owner(of('transfer', RECEIVER, 30n)), call(token, of('balanceOf', RECEIVER)), owner(of('transfer', RECEIVER, 3_000n))]),
        later([call(token, of('balanceOf', FACTORY)), owner(of('approve', RECEIVER, 5n)), { ...call(token, of('transferFrom', FACTORY, MINER, 5n)), from: RECEIVER }], 10),
      ],
    },
    'a token and its whole transactions': {
      blockStateCalls: [block([deploy, owner(of('transfer', RECEIVER, 30n))])], returnFullTransactions: true,
    },
    'an error with words': { blockStateCalls: [running(revertWith(ERROR))] },
    'a panic': { blockStateCalls: [running(revertWith(PANIC))] },
    'a revert without data': { blockStateCalls: [running('0x60006000fd')] },
    'a revert with data of its own': { blockStateCalls: [running(revertWith('0xdeadbeef'))] },
    'an invalid instruction': { blockStateCalls: [running('0xfe', [call(CODE), call(RECEIVER, '0x', { value: '0x1' })])] },
    'too little gas for a loop': { blockStateCalls: [running('0x5b600056', [call(CODE, '0x', { gas: toHex(50_000) })])] },
    'a stack that runs dry': { blockStateCalls: [running('0x50')] },
    ...Object.fromEntries(Object.entries(environment).map(([name, opcode]) => [
      `what ${name} is`, { blockStateCalls: [running(returning(`0x${opcode}`), [call(CODE)], { blockOverrides: { ...fixed, prevRandao: word(99) } })] }])),
    'storage that is put in, and kept by the next block': {
      blockStateCalls: [
        block([call(CODE)], { stateOverrides: { ...rich, [CODE]: { code: returning('0x600054'), stateDiff: { [word(0)]: word(77) } } } }),
        later([call(CODE)], 5),
        later([call(CODE)], 9, { stateOverrides: { [CODE]: { state: { [word(1)]: word(1) } } } }),
      ],
    },
    'a precompile': { blockStateCalls: [block([call('0x0000000000000000000000000000000000000002', '0x616263')])] },
    'an access list': { blockStateCalls: [running(returning('0x600054'), [call(CODE, '0x', { accessList: [{ address: CODE, storageKeys: [word(0)] }] })])] },
    'a nonce that goes on': { blockStateCalls: [block([call(RECEIVER, '0x', { nonce: '0x0' }), call(RECEIVER, '0x', { nonce: '0x1' })])] },
    'valid: as it should be': valid({ nonce: '0x5' }),
    'valid: a nonce that was used': valid({ nonce: '0x4' }),
    'valid: a nonce too far': valid({ nonce: '0x6' }),
    'valid: a fee below the base fee': valid({ maxFeePerGas: '0x1' }),
    'valid: more than there is': valid({}, { balance: '0x5' }),
    'valid: gas for no transaction': valid({ gas: toHex(20_000) }),
    'blocks out of order': { blockStateCalls: [{ blockOverrides: { number: toHex(head + 12) } }, { blockOverrides: { number: toHex(head + 11) } }] },
    'times out of order': { blockStateCalls: [later([], 9), later([], 8)] },
    'too many blocks': { blockStateCalls: Array.from({ length: 257 }, () => ({})) },
    'no block': { blockStateCalls: [] },
    'more gas than a block has': { blockStateCalls: [block([call(RECEIVER, '0x', { gas: toHex(40_000_000) })])] },
  };
}

const ask = (chain, payload) => chain.request('eth_simulateV1', payload, 'latest').then(
  (blocks) => ({ blocks }), ({ code, text, data }) => ({ error: { code, text, data } }));

// What execution-apis want of failures, of calls and of the whole: Anvil's cannot be compared.
const FAILURES = {
  'an error with words': [3, 'execution reverted: nope', ERROR],
  'a panic': [3, 'execution reverted: panic: arithmetic underflow or overflow (0x11)', PANIC],
  'a revert without data': [3, 'execution reverted', '0x'],
  'a revert with data of its own': [3, 'execution reverted', '0xdeadbeef'],
  'an invalid instruction': [-32015, 'invalid opcode'],
  'too little gas for a loop': [-32015, 'out of gas'],
  'a stack that runs dry': [-32015, 'stack underflow'],
};
const REFUSED = {
  'valid: a nonce that was used': -38010,
  'valid: a nonce too far': -38011,
  'valid: a fee below the base fee': -38012,
  'valid: gas for no transaction': -38013,
  'valid: more than there is': -38014,
  'more gas than a block has': -38015,
  'blocks out of order': -38020,
  'times out of order': -38021,
  'too many blocks': -38026,
  'no block': -32602,
};

// Nothing about a call is left out that is not exempted by name.
function compareCalls(comparison, kind, where, annex, anvil) {
  comparison.equal(`${where}: calls`, annex.length, anvil.length);
  annex.forEach(({ logs, error, ...call }, i) => {
    const { logs: otherLogs, error: otherError, ...other } = anvil[i] ?? { logs: [] };
    const name = `${where}: call ${i}`;
    comparison.fields(kind, name, call, other);
    comparison.equal(`${name}.error`, error === undefined, otherError === undefined);
    if (error && otherError) comparison.fields('simulatedError', `${name}.error`, error, otherError);
    comparison.equal(`${name}.logs`, logs.length, otherLogs.length);
    logs.forEach((log, at) => comparison.fields('simulatedLog', `${name}.logs[${at}]`, log, otherLogs[at] ?? {}));
  });
}

function compareBlocks(comparison, where, annex, anvil, { bloom = 'bloom', call = 'simulatedCall' }) {
  comparison.equal(`${where}: blocks`, annex.length, anvil.length);
  annex.forEach(({ calls, transactions, logsBloom, ...block }, i) => {
    const other = anvil[i];
    if (other === undefined) return;
    const { calls: otherCalls, transactions: others, logsBloom: otherBloom, ...rest } = other;
    const name = `${where}: block ${i}`;
    comparison.fields('simulatedBlock', name, block, rest);
    comparison.fields(bloom, name, { logsBloom }, { logsBloom: otherBloom });
    compareCalls(comparison, call, name, calls, otherCalls);
    comparison.equal(`${name}: transactions`, transactions.length, others.length);
    transactions.forEach((transaction, at) => {
      const [ours, theirs] = [transaction, others[at]].map((it) => (typeof it === 'string' ? { hash: it } : it ?? {}));
      comparison.fields('simulatedTransaction', `${name}.transactions[${at}]`, ours, theirs);
    });
  });
}

function compareRefusals(comparison, name, annex, anvil) {
  comparison.equal(`${name}: code`, annex.error?.code, REFUSED[name]);
  if (annex.error && anvil.blocks) comparison.exempt('refusal', 'accepted').differed += 1;
  else if (annex.error) comparison.fields('refusal', name, annex.error, anvil.error);
  else comparison.equal(`${name}: refused`, undefined, anvil.error);
}

run(async ({ url, key, ws: anvilUrl }) => {
  // Nobody has sent anything from there.
  const sender = privateKeyToAddress(keccak256(key)).toLowerCase();
  const [annex, anvil] = [await Chain.open(url), await Chain.open(anvilUrl)];
  const comparison = new Comparison();
  const names = [];
  const all = cases(sender, Number(await annex.request('eth_blockNumber')));
  for (const [name, payload] of Object.entries(all)) {
    const [ours, theirs] = await Promise.all([annex, anvil].map((chain) => ask(chain, payload)));
    names.push(name);
    compareRefusals(comparison, name, ours, theirs);
    const kinds = { bloom: payload.traceTransfers && 'simulatedTransfers', call: name.includes('BASEFEE') ? 'simulatedBaseFee' : undefined };
    if (ours.blocks && theirs.blocks) compareBlocks(comparison, name, ours.blocks, theirs.blocks, kinds);
    if (name === 'what BASEFEE is') comparison.equal(name, BigInt(ours.blocks[0].calls[0].returnData), 7n);
    if (!(name in FAILURES)) continue;
    const { code, message, data } = ours.blocks?.[0].calls[0].error ?? {};
    comparison.equal(`${name}: as execution-apis have it`, [code, message, ...(data === undefined ? [] : [data])], FAILURES[name]);
  }
  for (const name of [...Object.keys(FAILURES), ...Object.keys(REFUSED)]) comparison.equal(`${name} was simulated`, names.includes(name), true);
  // EIP-7910: the same precompiles, and only contracts that are there.
  const [{ current }, { current: other }] = await Promise.all([annex, anvil].map((chain) => chain.request('eth_config')));
  comparison.equal('precompiles', current.precompiles, other.precompiles);
  for (const [name, address] of Object.entries(current.systemContracts)) {
    comparison.equal(`${name} has code`, (await annex.request('eth_getCode', address, 'latest')).length > 2, true);
  }
  return { simulated: names.length, ...comparison.report() };
});
