// Compiles a contract, deploys it, writes, reads, and is refused.
import { readFileSync } from 'node:fs';
import solc from 'solc';
import { BaseError, ContractFunctionRevertedError } from 'viem';
import { chains, clients } from '../chain.mjs';

function compile(name) {
  const source = readFileSync(new URL(`${name}.sol`, import.meta.url), 'utf8');
  const input = {
    language: 'Solidity',
    sources: { [name]: { content: source } },
    settings: { evmVersion: 'osaka', outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const errors = (output.errors ?? []).filter(({ severity }) => severity === 'error');
  if (errors.length) throw new Error(errors.map(({ formattedMessage }) => formattedMessage).join('\n'));
  const { abi, evm } = output.contracts[name][name];
  return { abi, bytecode: `0x${evm.bytecode.object}` };
}

const { l2 } = await chains();
const { read, write } = clients(l2);
const { abi, bytecode } = compile('Guestbook');

const created = await read.waitForTransactionReceipt({ hash: await write.deployContract({ abi, bytecode }) });
const guestbook = { abi, address: created.contractAddress };
console.log(`deployed at ${guestbook.address} for ${created.gasUsed} gas`);

const hash = await write.writeContract({ ...guestbook, functionName: 'sign', args: ['Hello from an annex'] });
const { status } = await read.waitForTransactionReceipt({ hash });
const words = await read.readContract({ ...guestbook, functionName: 'words', args: [0n] });
console.log(`signed, ${status}: "${words}"`);

try {
  await read.simulateContract({ ...guestbook, functionName: 'sign', args: ['x'.repeat(281)] });
  throw new Error('it should have been refused');
} catch (error) {
  const reverted = error instanceof BaseError && error.walk((cause) => cause instanceof ContractFunctionRevertedError);
  if (!reverted) throw error;
  console.log(`refused with ${reverted.data.errorName}(${reverted.data.args})`);
}
