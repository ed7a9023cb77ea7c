import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { decodeFunctionResult, toFunctionSignature } from 'viem';
import { gasLimit, run } from './lib/run.js';
import { trade } from './lib/trade.js';

const packaged = fileURLToPath(new URL('./node_modules/.bin/cast', import.meta.url));
const binary = process.env.CAST ?? packaged;
const execute = promisify(execFile);

async function cast(...args) {
  const { stdout } = await execute(binary, args, { maxBuffer: 1 << 24, env: { ...process.env, FOUNDRY_DISABLE_NIGHTLY_WARNING: '1' } });
  return stdout.trim();
}

const text = (value) => (Array.isArray(value) ? `[${value.map(text).join(',')}]` : String(value));
const signature = (abi, name) => toFunctionSignature(abi.find((item) => item.name === name)).replace(/^function /, '');

run(async ({ url, key }) => {
  const address = await cast('wallet', 'address', '--private-key', key);
  const signed = ['--rpc-url', url, '--private-key', key, '--json'];

  return trade({
    address,
    gas: await gasLimit(url),
    async deploy({ abi, bytecode }, args) {
      const inputs = abi.find((item) => item.type === 'constructor')?.inputs ?? [];
      const types = `constructor(${inputs.map((input) => input.type).join(',')})`;
      const encoded = inputs.length > 0 ? [types, ...args.map(text)] : [];
      const receipt = JSON.parse(await cast('send', ...signed, '--create', bytecode, ...encoded));
      return { address: receipt.contractAddress, receipt };
    },
    async send(contract, name, args, { value, gas } = {}) {
      const options = [...(value ? ['--value', text(value)] : []), ...(gas ? ['--gas-limit', text(gas)] : [])];
      const call = [contract.address, signature(contract.abi, name), ...args.map(text)];
      return JSON.parse(await cast('send', ...signed, ...options, ...call));
    },
    async read({ address: to, abi }, name, args) {
      const data = await cast('call', '--rpc-url', url, to, signature(abi, name), ...args.map(text));
      const outputs = abi.find((item) => item.name === name).outputs.length;
      const result = decodeFunctionResult({ abi, functionName: name, data });
      return outputs === 1 ? [result] : result;
    },
    async refusal({ address: to, abi }, name, args) {
      const call = ['--rpc-url', url, '--from', address, to, signature(abi, name), ...args.map(text)];
      return cast('estimate', ...call).then(() => 'accepted', (error) => error.stderr);
    },
  });
});
