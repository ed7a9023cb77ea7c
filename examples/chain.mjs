// What every example needs: the two chains that `annex dev` runs, and a key with ether on both.
//   L2_URL and L1_URL name other endpoints, KEY another key.
import { createPublicClient, createWalletClient, defineChain, http, rpcSchema } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

export const l2Url = process.env.L2_URL ?? 'http://127.0.0.1:9545';
export const l1Url = process.env.L1_URL ?? 'http://127.0.0.1:8545';

// Account 0 of `annex dev`. Everybody knows this key.
export const account = privateKeyToAccount(
  process.env.KEY ?? '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80');

// A node says itself where its contracts are.
export async function deployment() {
  const client = createPublicClient({ transport: http(l2Url), rpcSchema: rpcSchema() });
  return client.request({ method: 'annex_deployment' });
}

const currency = { name: 'Ether', symbol: 'ETH', decimals: 18 };

// viem's description of both chains. `contracts` is what its op-stack actions look for.
export async function chains() {
  const { l1ChainId, l2ChainId, contracts } = await deployment();
  const l1 = defineChain({
    id: l1ChainId,
    name: 'L1',
    nativeCurrency: currency,
    rpcUrls: { default: { http: [l1Url] } },
    contracts: { multicall3: { address: contracts.multicall3 } },
  });
  const at = (address) => ({ [l1ChainId]: { address } });
  const l2 = defineChain({
    id: l2ChainId,
    name: 'Annex',
    nativeCurrency: currency,
    sourceId: l1ChainId,
    rpcUrls: { default: { http: [l2Url], webSocket: [l2Url.replace('http', 'ws')] } },
    contracts: {
      portal: at(contracts.portal),
      disputeGameFactory: at(contracts.disputeGameFactory),
      l1StandardBridge: at(contracts.l1StandardBridge),
    },
  });
  return { l1, l2, contracts };
}

export function clients(chain) {
  // viem asks for a receipt every four seconds unless told; these chains are faster.
  const options = { chain, transport: http(), pollingInterval: 200 };
  return { read: createPublicClient(options), write: createWalletClient({ ...options, account }) };
}
