// viem's op-stack actions, as they are, on the two chains.
import assert from 'node:assert/strict';
import { createPublicClient, createWalletClient, defineChain, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import {
  chainConfig, getWithdrawals, publicActionsL1, publicActionsL2, walletActionsL1, walletActionsL2,
} from 'viem/op-stack';
import { eventually } from './run.js';

const ETHER = { decimals: 18, name: 'Ether', symbol: 'ETH' };

// Clients for both chains, out of what `annex_deployment` says.
export async function chains(url, l1Url, key) {
  const { contracts, l1ChainId, l2ChainId } = await createPublicClient({ transport: http(url) })
    .request({ method: 'annex_deployment', params: [] });
  const l1 = defineChain({
    id: l1ChainId, name: 'L1', nativeCurrency: ETHER, rpcUrls: { default: { http: [l1Url] } },
    contracts: { multicall3: { address: contracts.multicall3 } },
  });
  const at = (address) => ({ [l1.id]: { address } });
  const l2 = defineChain({
    ...chainConfig, id: l2ChainId, name: 'L2', nativeCurrency: ETHER, sourceId: l1.id, rpcUrls: { default: { http: [url] } },
    contracts: {
      ...chainConfig.contracts,
      portal: at(contracts.portal),
      disputeGameFactory: at(contracts.disputeGameFactory),
      l1StandardBridge: at(contracts.l1StandardBridge),
    },
  });
  const account = privateKeyToAccount(key);
  const options = (chain, rpc) => ({ chain, transport: http(rpc), pollingInterval: 200, cacheTime: 0 });
  return {
    account, contracts, l2,
    publicL1: createPublicClient(options(l1, l1Url)).extend(publicActionsL1()),
    walletL1: createWalletClient({ account, ...options(l1, l1Url) }).extend(walletActionsL1()),
    publicL2: createPublicClient(options(l2, url)).extend(publicActionsL2()),
    walletL2: createWalletClient({ account, ...options(l2, url) }).extend(walletActionsL2()),
  };
}

// A receipt of L2 with the hash of its block, once it has one.
export async function sealed({ publicL2 }, hash) {
  return eventually('the seal', async () => {
    const receipt = await publicL2.getTransactionReceipt({ hash }).catch(() => null);
    return receipt !== null && BigInt(receipt.blockHash) !== 0n && receipt;
  });
}

// Only one withdrawal at a time sends on L1: the account has one nonce.
let turn = Promise.resolve();
function inTurn(send) {
  const done = turn.then(send);
  turn = done.catch(() => undefined);
  return done;
}

// Takes the withdrawal of an L2 receipt to L1, and asks for its status at every stage.
export async function complete(chain, receipt) {
  const { account, l2, publicL1, walletL1, publicL2 } = chain;
  const statuses = [];
  const status = async (...expected) => {
    const found = await publicL1.getWithdrawalStatus({ receipt, targetChain: l2 });
    assert.ok(expected.includes(found), `${found}, not ${expected}`);
    statuses.push(found);
  };
  const mined = async (send) => {
    const hash = await inTurn(send);
    const result = await publicL1.waitForTransactionReceipt({ hash });
    assert.equal(result.status, 'success');
    return result;
  };
  const [withdrawal] = getWithdrawals(receipt);
  assert.equal(getWithdrawals(receipt).length, 1);
  // Somebody's claim may be there before we ask.
  await status('waiting-to-prove', 'ready-to-prove');
  await assert.rejects(publicL1.getTimeToFinalize({ targetChain: l2, withdrawalHash: withdrawal.withdrawalHash }));

  const found = await publicL1.waitToProve({ receipt, targetChain: l2 });
  assert.deepEqual(found.withdrawal, withdrawal);
  assert.ok(found.game.l2BlockNumber >= receipt.blockNumber);
  await status('ready-to-prove');
  const proof = await publicL2.buildProveWithdrawal({ account, ...found });
  const proved = await mined(() => walletL1.proveWithdrawal(proof));
  await status('waiting-to-finalize', 'ready-to-finalize');

  await publicL1.waitToFinalize({ targetChain: l2, withdrawalHash: withdrawal.withdrawalHash });
  await eventually('the last second of the window', async () => (
    await publicL1.getWithdrawalStatus({ receipt, targetChain: l2 })) === 'ready-to-finalize', 30_000);
  await status('ready-to-finalize');
  const finalized = await mined(() => walletL1.finalizeWithdrawal({ targetChain: l2, withdrawal }));
  await status('finalized');

  const again = walletL1.finalizeWithdrawal({ targetChain: l2, withdrawal });
  await assert.rejects(again, /AlreadyFinalized|revert/);
  return { statuses, proveGas: proved.gasUsed, finalizeGas: finalized.gasUsed };
}
