// Compares what was recorded on two chains, field by field. Every field is compared that is not named here, also fields
// that nobody has thought of.
const POSITION = 'where the transaction is: Anvil mines every transaction in a block of its own';
const EXEMPT = {
  receipt: {
    blockHash: POSITION, blockNumber: POSITION, transactionIndex: POSITION, cumulativeGasUsed: POSITION,
    gasUsed: 'with data gas on Annex; execution gas, which is compared, is this less the formula\'s data gas',
    effectiveGasPrice: 'each chain has its base fee; checked on both against base fee, tip and limit',
    blobGasPrice: 'Anvil has it in receipts without blobs', blockTimestamp: 'Anvil only',
  },
  log: {
    blockHash: POSITION, blockNumber: POSITION, transactionIndex: POSITION,
    logIndex: `${POSITION}; the place within the transaction is compared`, blockTimestamp: 'each chain has its time',
  },
  transaction: {
    blockHash: POSITION, blockNumber: POSITION, transactionIndex: POSITION, blockTimestamp: 'each chain has its time',
    gasPrice: 'of a transaction with a tip: each chain has its base fee',
  },
  simulatedBlock: {
    mixHash: 'Anvil leaves an overridden prevRandao out of the block; what calls see of it is compared',
    number: 'Anvil simulates the block that it starts on, not the next', parentHash: 'each chain has its blocks', hash: 'each chain has its blocks',
    ...Object.fromEntries(['transactionsRoot', 'receiptsRoot'].map((field) => [field, 'Anvil has one hash in both, which is the root of neither'])),
    ...Object.fromEntries(['blobGasUsed', 'excessBlobGas', 'parentBeaconBlockRoot', 'requestsHash', 'size', 'withdrawals', 'withdrawalsRoot'].map(
      (field) => [field, 'Anvil leaves it out'])),
  },
  simulatedTransfers: { logsBloom: 'with traceTransfers: Anvil counts these logs in, which no block would have' },
  simulatedCall: { maxUsedGas: 'Annex only' },
  simulatedBaseFee: { maxUsedGas: 'Annex only', returnData: 'Anvil\'s calls see a base fee of zero, also where one is named; Annex\'s the one named' },
  simulatedError: Object.fromEntries(['code', 'message', 'data'].map(
    (field) => [field, 'Anvil has one code and wording for every failure; Annex\'s are compared with execution-apis\' in the script'])),
  simulatedLog: {
    blockHash: 'each chain has its blocks', blockNumber: 'see simulatedBlock.number', transactionHash: 'see simulatedTransaction.hash',
  },
  simulatedTransaction: {
    blockHash: 'each chain has its blocks', blockNumber: 'see simulatedBlock.number', chainId: 'Anvil has 1 in every one',
    nonce: 'Anvil does not count: each has the first', transactionIndex: 'Anvil leaves it out', blockTimestamp: 'Anvil leaves it out',
    hash: 'of a transaction without signature, which has chain and nonce in it',
  },
  refusal: {
    code: 'Anvil has codes of its own', text: 'Anvil has words of its own', accepted: 'Anvil does not look; Annex\'s code is compared with execution-apis\' in the script',
  },
  state: { storageRoot: 'of contracts that keep the time' },
  message: { text: 'of reverts with a contract\'s own error: Anvil appends what it makes of the data; code and data are compared' },
  step: {
    executionGas: 'of one transaction: Anvil refunds for an authorization by an account that does not exist',
    estimate: 'searched differently, and with data gas on Annex; at least the gas used, checked on Annex',
  },
};
// Error(string) and Panic(uint256): what they say is a part of what every node answers.
const WORDED = /^0x(08c379a0|4e487b71|$)/;

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const sorted = (value) => (isObject(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value);
// The same for the same values in whatever order an object's fields are.
const text = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? v.toString() : sorted(v)));

// Where a tool chooses gas limit and fees from what the chain says, these differ, and so do hash and signature.
const OWN_FEES = {
  receipt: { transactionHash: 'of a transaction whose fees the tool chose' },
  log: { transactionHash: 'of a transaction whose fees the tool chose' },
  transaction: Object.fromEntries(['hash', 'gas', 'maxFeePerGas', 'maxPriorityFeePerGas', 'r', 's', 'v', 'yParity'].map(
    (field) => [field, 'of a transaction whose gas limit and fees the tool chose by what the chain says'])),
};

export class Comparison {
  constructor({ ownFees = false } = {}) {
    this.exemptions = Object.fromEntries(Object.entries(EXEMPT).map(
      ([kind, fields]) => [kind, { ...fields, ...(ownFees && OWN_FEES[kind]) }]));
    this.differences = [];
    this.exempted = new Map();
    this.compared = 0;
  }

  exempt(kind, field) {
    const key = `${kind}.${field}`;
    const entry = this.exempted.get(key) ?? { field: key, reason: this.exemptions[kind][field], differed: 0, times: 0 };
    this.exempted.set(key, entry);
    entry.times += 1;
    return entry;
  }

  equal(where, annex, anvil) {
    this.compared += 1;
    if (text(annex) !== text(anvil)) this.differences.push({ where, annex, anvil });
  }

  // Objects, without the exempted fields of their kind.
  fields(kind, where, annex, anvil, free = () => true) {
    const exempt = this.exemptions[kind] ?? {};
    for (const field of new Set([...Object.keys(annex), ...Object.keys(anvil)])) {
      if (field in exempt && free(field)) {
        const entry = this.exempt(kind, field);
        if (text(annex[field]) !== text(anvil[field])) entry.differed += 1;
      } else {
        this.equal(`${where}.${field}`, annex[field], anvil[field]);
      }
    }
  }

  outputs(where, annex, anvil) {
    const [ours, theirs] = [annex.error, anvil.error];
    const worded = WORDED.test(ours?.data ?? '0x');
    if (!ours || !theirs || worded || !theirs.message.startsWith(ours.message)) return this.equal(where, annex, anvil);
    this.exempt('message', 'text').differed += ours.message === theirs.message ? 0 : 1;
    return this.equal(where, [ours.code, ours.data], [theirs.code, theirs.data]);
  }

  receipts(where, { logs: annexLogs, ...annex }, { logs: anvilLogs, ...anvil }) {
    this.fields('receipt', where, annex, anvil);
    this.equal(`${where}.logs.length`, annexLogs.length, anvilLogs.length);
    annexLogs.forEach((log, i) => {
      const other = anvilLogs[i];
      if (other === undefined) return;
      this.fields('log', `${where}.logs[${i}]`, log, other);
      const place = (logs) => BigInt(logs[i].logIndex) - BigInt(logs[0].logIndex);
      this.equal(`${where}.logs[${i}].place`, place(annexLogs), place(anvilLogs));
    });
  }

  steps(where, annex, anvil) {
    this.equal(`${where}: steps`, annex.map(({ name }) => name), anvil.map(({ name }) => name));
    annex.forEach((step, i) => {
      const other = anvil[i];
      if (other === undefined) return;
      const { receipt, transaction, output, ...rest } = step;
      const name = `${where}: ${step.name}`;
      if (receipt) {
        this.receipts(`${name}: receipt`, receipt, other.receipt);
        const tipped = transaction.type !== '0x0' && transaction.type !== '0x1';
        this.fields('transaction', `${name}: transaction`, transaction, other.transaction, (field) => field !== 'gasPrice' || tipped);
      }
      if (output) this.outputs(`${name}: output`, output, other.output);
      const { receipt: _, transaction: __, output: ___, ...otherRest } = other;
      const kind = step.kind === 'state' ? 'state' : 'step';
      this.fields(kind, name, rest, otherRest, (field) => field === 'estimate' || step.free);
    });
  }

  // What was compared, and what was not; throws if anything differs.
  report() {
    const exempted = [...this.exempted.values()].sort((a, b) => a.field.localeCompare(b.field));
    for (const { field, reason, differed, times } of exempted) {
      console.error(`exempt ${field} (differed ${differed} of ${times} times): ${reason}`);
    }
    if (this.differences.length > 0) {
      const lines = this.differences.slice(0, 40).map(({ where, annex, anvil }) => `${where}\n  annex ${text(annex)}\n  anvil ${text(anvil)}`);
      throw new Error(`${this.differences.length} differences\n${lines.join('\n')}`);
    }
    return { compared: this.compared, exempted };
  }
}
