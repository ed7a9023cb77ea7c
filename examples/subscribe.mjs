// Hears of transactions as the leader acknowledges them, and believes nothing: every promise's signature is recovered.
import { createPublicClient, numberToHex, parseEther, recoverTypedDataAddress, webSocket } from 'viem';
import { chains, clients } from './chain.mjs';

const EXPECTED = 3;
const { l1, l2, contracts } = await chains();
const { write } = clients(l2);
const socket = createPublicClient({ chain: l2, transport: webSocket() });
const { promiseSigner } = await socket.request({ method: 'annex_leader' });

const domain = { name: 'Annex', version: '1', chainId: l1.id, verifyingContract: contracts.lease };
const types = {
  Promise: [
    { name: 'l2ChainId', type: 'uint64' },
    { name: 'leaseId', type: 'uint256' },
    { name: 'sequence', type: 'uint64' },
    { name: 'previous', type: 'bytes32' },
    { name: 'blockNumber', type: 'uint64' },
    { name: 'timestamp', type: 'uint64' },
    { name: 'beneficiary', type: 'address' },
    { name: 'baseFee', type: 'uint256' },
    { name: 'origin', type: 'bytes32' },
    { name: 'firstIndex', type: 'uint32' },
    { name: 'count', type: 'uint32' },
    { name: 'root', type: 'bytes32' },
  ],
};

const heard = new Promise((resolve, reject) => {
  let transactions = 0;
  const onData = async ({ result: { promise, receipts } }) => {
    const { signature, ...message } = promise;
    const signer = await recoverTypedDataAddress({ domain, types, primaryType: 'Promise', message, signature });
    if (signer.toLowerCase() !== promiseSigner.toLowerCase()) throw new Error(`signed by ${signer}`);
    console.log(`promise ${Number(promise.sequence)} of the leader: ${receipts.length} transaction(s) in block ${Number(promise.blockNumber)}`);
    transactions += receipts.length;
    if (transactions >= EXPECTED) resolve();
  };
  socket.transport.subscribe({ params: ['miniBlocks'], onData: (data) => onData(data).catch(reject), onError: reject })
    .then(async () => {
      for (let sent = 0; sent < EXPECTED; sent += 1) {
        const to = numberToHex(0xb0 + sent, { size: 20 });
        await write.sendTransaction({ to, value: parseEther('0.001') });
      }
    })
    .catch(reject);
});
await heard;
process.exit(0);
