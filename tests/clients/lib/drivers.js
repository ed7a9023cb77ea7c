// The same few acts through viem and through ethers: each deploys, sends, reads and signs in its own way.
// Gas limit and fees are given, so that both chains get the same transaction, byte for byte.
import { Contract, ContractFactory, JsonRpcProvider, Wallet } from 'ethers';
import { BaseError, ContractFunctionRevertedError, createPublicClient, createWalletClient, decodeFunctionResult, encodeFunctionData, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const FEES = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 100_000_000n };
const DEPLOY_GAS = 8_000_000n;
const CALL_GAS = 6_000_000n;

const gasOf = (options, fallback) => options.gas ?? fallback;
const fees = ({ type }) => (type === 'legacy' || type === 'eip2930' ? { gasPrice: FEES.maxFeePerGas } : FEES);

class Viem {
  constructor(chain, key) {
    this.account = privateKeyToAccount(key);
    this.address = this.account.address;
    const transport = http(chain.url, { retryCount: 0 });
    const definition = {
      id: chain.id, name: chain.name, nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 }, rpcUrls: { default: { http: [chain.url] } },
    };
    const options = { chain: definition, transport, pollingInterval: 20, cacheTime: 0 };
    this.reader = createPublicClient(options);
    this.wallet = createWalletClient({ ...options, account: this.account });
  }

  deploy({ abi, bytecode }, args, options) {
    return this.wallet.deployContract({ abi, bytecode, args, gas: gasOf(options, DEPLOY_GAS), value: options.value, ...FEES });
  }

  send({ address, abi }, functionName, args, { from: _, ...options }) {
    return this.wallet.writeContract({ address, abi, functionName, args, ...fees(options), ...options, gas: gasOf(options, CALL_GAS) });
  }

  raw({ from: _, ...transaction }) {
    return this.wallet.sendTransaction({ ...fees(transaction), ...transaction, gas: gasOf(transaction, CALL_GAS) });
  }

  // What a client that waits is told.
  async wait(hash) {
    const receipt = await this.reader.waitForTransactionReceipt({ hash });
    return { ok: receipt.status === 'success', logs: receipt.logs.length, created: receipt.contractAddress ?? null, gas: receipt.gasUsed };
  }

  async read({ address, abi }, functionName, args, { value } = {}) {
    const data = encodeFunctionData({ abi, functionName, args });
    const { data: output } = await this.reader.call({ to: address, data, account: this.address, value, gas: DEPLOY_GAS });
    return decodeFunctionResult({ abi, functionName, data: output ?? '0x', args });
  }

  async estimate({ address, abi }, functionName, args, { value } = {}) {
    return this.reader.estimateContractGas({ address, abi, functionName, args, value, account: this.address });
  }

  // How the client words a refusal of the node.
  async refusal({ address, abi }, functionName, args, { value } = {}) {
    const call = { address, abi, functionName, args, value, account: this.address };
    const error = await this.reader.simulateContract(call).catch((e) => e);
    if (!(error instanceof BaseError)) return 'accepted';
    const reverted = error.walk((e) => e instanceof ContractFunctionRevertedError);
    if (!reverted) return error.shortMessage;
    return { reason: reverted.reason, error: reverted.data?.errorName, args: reverted.data?.args, signature: reverted.signature };
  }

  authorize(address, nonce, chainId) {
    return this.account.signAuthorization({ address, nonce, chainId });
  }

  signTyped(domain, types, primaryType, message) {
    return this.account.signTypedData({ domain, types, primaryType, message });
  }
}

class Ethers {
  constructor(chain, key) {
    this.chain = chain;
    this.provider = new JsonRpcProvider(chain.url, chain.id, { staticNetwork: true, pollingInterval: 20, cacheTimeout: -1 });
    this.wallet = new Wallet(key, this.provider);
    this.address = this.wallet.address;
    // ethers signs hashes with a key, outside of its Wallet; one signer for hashes serves both clients.
    this.account = privateKeyToAccount(key);
  }

  bound({ address, abi }) {
    return new Contract(address, abi, this.wallet);
  }

  async deploy({ abi, bytecode }, args, options) {
    const overrides = { gasLimit: gasOf(options, DEPLOY_GAS), value: options.value ?? 0n, ...FEES };
    const contract = await new ContractFactory(abi, bytecode, this.wallet).deploy(...args, overrides);
    return contract.deploymentTransaction().hash;
  }

  // A function of an overloaded name is named with its types.
  method(contract, name, args) {
    const found = contract.interface.fragments.find(
      (fragment) => fragment.type === 'function' && fragment.name === name && fragment.inputs.length === args.length);
    return contract.getFunction(found.format());
  }

  async send(contract, name, args, options) {
    const sent = await this.method(this.bound(contract), name, args)(...args, {
      gasLimit: gasOf(options, CALL_GAS), value: options.value ?? 0n, ...Ethers.kind(options), ...fees(options),
    });
    return sent.hash;
  }

  async raw({ to, data, value, gas, ...rest }) {
    const transaction = { to, data, value: value ?? 0n, gasLimit: gas ?? CALL_GAS, ...Ethers.kind(rest), ...fees(rest) };
    return (await this.wallet.sendTransaction(transaction)).hash;
  }

  static kind({ type, accessList, authorizationList }) {
    return {
      ...(type && { type: { legacy: 0, eip2930: 1 }[type] }),
      ...(accessList && { accessList }),
      ...(authorizationList && { type: 4, authorizationList }),
    };
  }

  async wait(hash) {
    const receipt = await this.provider.waitForTransaction(hash);
    return { ok: receipt.status === 1, logs: receipt.logs.length, created: receipt.contractAddress, gas: receipt.gasUsed };
  }

  async read(contract, name, args, { value } = {}) {
    const call = { from: this.address, ...(value && { value }), gasLimit: DEPLOY_GAS };
    const result = await this.method(this.bound(contract), name, args).staticCallResult(...args, call);
    return result.toArray(true);
  }

  async estimate(contract, name, args, { value } = {}) {
    return this.method(this.bound(contract), name, args).estimateGas(...args, { ...(value && { value }) });
  }

  async refusal(contract, name, args, { value } = {}) {
    const call = this.method(this.bound(contract), name, args).staticCall(...args, { ...(value && { value }) });
    const error = await call.then(() => null, (e) => e);
    if (error === null) return 'accepted';
    return { code: error.code, reason: error.reason, error: error.revert?.name, args: error.revert && [...error.revert.args], data: error.data };
  }

  async authorize(address, nonce, chainId) {
    return this.wallet.authorize({ address, nonce, chainId });
  }

  signTyped(domain, types, primaryType, message) {
    return this.wallet.signTypedData(domain, types, message);
  }
}

export const DRIVERS = { viem: Viem, ethers: Ethers };
