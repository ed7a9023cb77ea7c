import { BaseError, createPublicClient, createWalletClient, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { gasLimit, run } from './lib/run.js';
import { trade } from './lib/trade.js';

run(async ({ url, key }) => {
  const account = privateKeyToAccount(key);
  const options = { transport: http(url), pollingInterval: 50 };
  const id = await createPublicClient(options).getChainId();
  const chain = { id, name: 'test', nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 }, rpcUrls: { default: { http: [url] } } };
  const reader = createPublicClient({ ...options, chain });
  const wallet = createWalletClient({ ...options, chain, account });
  const mined = (hash) => reader.waitForTransactionReceipt({ hash });

  return trade({
    address: account.address,
    gas: await gasLimit(url),
    async deploy({ abi, bytecode }, args) {
      const receipt = await mined(await wallet.deployContract({ abi, bytecode, args }));
      return { address: receipt.contractAddress, receipt };
    },
    async send({ address, abi }, functionName, args, { value, gas } = {}) {
      return mined(await wallet.writeContract({ address, abi, functionName, args, value, gas }));
    },
    async read({ address, abi }, functionName, args) {
      const outputs = abi.find((item) => item.name === functionName).outputs.length;
      const result = await reader.readContract({ address, abi, functionName, args });
      return outputs === 1 ? [result] : result;
    },
    async refusal({ address, abi }, functionName, args) {
      const error = await reader.simulateContract({ address, abi, functionName, args, account }).catch((e) => e);
      return error instanceof BaseError ? error.walk((e) => e.reason !== undefined)?.reason ?? error.message : 'accepted';
    },
  });
});
