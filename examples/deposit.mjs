// Moves ether from L1 to L2 through the Portal: no one on L2 is asked.
import { parseEther } from 'viem';
import { getL2TransactionHashes, publicActionsL2, walletActionsL1 } from 'viem/op-stack';
import { account, chains, clients } from './chain.mjs';

const { l1, l2 } = await chains();
const onL1 = clients(l1);
const onL2 = clients(l2);
const before = await onL2.read.getBalance({ address: account.address });

const request = await onL2.read.extend(publicActionsL2()).buildDepositTransaction({
  mint: parseEther('0.5'),
  to: account.address,
});
const hash = await onL1.write.extend(walletActionsL1()).depositTransaction({ account, targetChain: l2, ...request });
const receipt = await onL1.read.waitForTransactionReceipt({ hash });
console.log(`L1 transaction ${hash}, block ${receipt.blockNumber}`);

const [l2Hash] = getL2TransactionHashes(receipt);
const arrived = await onL2.read.waitForTransactionReceipt({ hash: l2Hash });
const after = await onL2.read.getBalance({ address: account.address });
console.log(`L2 transaction ${arrived.transactionHash}, ${arrived.status}`);
console.log(`${after - before} wei more than before`);
if (after <= before) throw new Error('nothing arrived');
