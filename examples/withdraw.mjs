// Moves ether from L2 to L1, through claims that anybody can dispute: with the windows of `annex dev` in two minutes.
import { formatEther, parseEther } from 'viem';
import { getWithdrawals, publicActionsL1, publicActionsL2, walletActionsL1, walletActionsL2 } from 'viem/op-stack';
import { account, chains, clients } from './chain.mjs';

const { l1, l2 } = await chains();
const base = { l1: clients(l1), l2: clients(l2) };
const onL1 = { read: base.l1.read.extend(publicActionsL1()), write: base.l1.write.extend(walletActionsL1()) };
const onL2 = { read: base.l2.read.extend(publicActionsL2()), write: base.l2.write.extend(walletActionsL2()) };
const to = '0x000000000000000000000000000000000000dEaD';
const before = await onL1.read.getBalance({ address: to });

const hash = await onL2.write.initiateWithdrawal({ account, request: { gas: 21_000n, to, value: parseEther('0.25') } });
const initiated = await onL2.read.waitForTransactionReceipt({ hash });
const [withdrawal] = getWithdrawals(initiated);
console.log(`initiated in L2 block ${initiated.blockNumber}`);

const { output } = await onL1.read.waitToProve({ receipt: initiated, targetChain: l2 });
console.log(`claimed: block ${output.l2BlockNumber}, root ${output.outputRoot}`);
const proof = await onL2.read.buildProveWithdrawal({ output, withdrawal });
await onL1.read.waitForTransactionReceipt({ hash: await onL1.write.proveWithdrawal({ ...proof, account, targetChain: l2 }) });
console.log('proved; now anybody may dispute the claim');

await onL1.read.waitToFinalize({ targetChain: l2, withdrawalHash: withdrawal.withdrawalHash });
const finalized = await onL1.write.finalizeWithdrawal({ account, targetChain: l2, withdrawal });
await onL1.read.waitForTransactionReceipt({ hash: finalized });
const after = await onL1.read.getBalance({ address: to });
console.log(`paid: ${formatEther(after - before)} ether to ${to} on L1`);
if (after - before !== parseEther('0.25')) throw new Error('not what was withdrawn');
