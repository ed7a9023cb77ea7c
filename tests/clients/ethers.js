import { Contract, ContractFactory, JsonRpcProvider, NonceManager, Wallet } from 'ethers';
import { gasLimit, run } from './lib/run.js';
import { trade } from './lib/trade.js';

run(async ({ url, key }) => {
  const provider = new JsonRpcProvider(url, undefined, { pollingInterval: 50, cacheTimeout: -1 });
  const wallet = new Wallet(key, provider);
  const signer = new NonceManager(wallet);
  const bound = ({ address, abi }) => new Contract(address, abi, signer);
  // A failed transaction is an exception that bears its receipt.
  const mined = (sent) => sent.wait().catch((error) => error.receipt ?? Promise.reject(error));

  return trade({
    address: wallet.address,
    gas: await gasLimit(url),
    async deploy({ abi, bytecode }, args) {
      const contract = await new ContractFactory(abi, bytecode, signer).deploy(...args);
      const receipt = await mined(contract.deploymentTransaction());
      return { address: await contract.getAddress(), receipt };
    },
    async send(contract, name, args, { value, gas } = {}) {
      return mined(await bound(contract)[name](...args, { value: value ?? 0n, ...(gas && { gasLimit: gas }) }));
    },
    async read(contract, name, args) {
      const result = await bound(contract)[name].staticCallResult(...args);
      return result.toArray(true);
    },
    async refusal(contract, name, args) {
      const error = await bound(contract)[name].estimateGas(...args).catch((e) => e);
      return error.reason ?? String(error.message ?? 'accepted');
    },
  });
});
