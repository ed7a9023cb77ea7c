// Sends ether and has the receipt in the same round trip (EIP-7966).
import { parseEther } from 'viem';
import { account, chains, clients } from './chain.mjs';

const { l2 } = await chains();
const { read, write } = clients(l2);
const to = '0x00000000000000000000000000000000000000b0';

const request = await write.prepareTransactionRequest({ account, to, value: parseEther('0.01') });
const serializedTransaction = await write.signTransaction(request);

const start = performance.now();
const receipt = await read.request({ method: 'eth_sendRawTransactionSync', params: [serializedTransaction] });
const took = performance.now() - start;

console.log(`${receipt.transactionHash} is in block ${Number(receipt.blockNumber)}, status ${receipt.status}, after ${took.toFixed(1)} ms`);
console.log(`promise ${Number(receipt.promise.sequence)}, signed by the leader, covers ${Number(receipt.promise.count)} transaction`);
if (receipt.status !== '0x1') throw new Error('it failed');
