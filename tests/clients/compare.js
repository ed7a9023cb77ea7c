// The scenarios, each through viem and through ethers, on Annex and on Anvil: `node compare.js ANNEX_URL KEY ANVIL_URL [SCENARIO…]`.
// The key has ten ether on both; every other key comes out of it.
import { concat, keccak256, stringToHex } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import { Chain } from './lib/chain.js';
import { Comparison } from './lib/compare.js';
import { DRIVERS } from './lib/drivers.js';
import { Recorder } from './lib/record.js';
import { run } from './lib/run.js';
import { SCENARIOS } from './scenarios/index.js';

const ACCOUNTS = 3;
const FUNDS = 2n * 10n ** 17n;

const derive = (key, ...path) => keccak256(concat([key, stringToHex(path.join('/'))]));

// Ether for every account that sends, by the same transactions on both chains.
async function fund(chain, key, addresses) {
  const recorder = new Recorder(chain, [new DRIVERS.viem(chain, key)]);
  for (const to of addresses) await recorder.raw(`fund ${to}`, { to, value: FUNDS, gas: 100_000n });
  return recorder.finish();
}

run(async ({ url, key, ws: anvilUrl }) => {
  const chosen = process.argv.slice(5);
  const names = chosen.length > 0 ? chosen : Object.keys(SCENARIOS);
  const chains = [await Chain.open(url), await Chain.open(anvilUrl)];
  const runs = names.flatMap((name) => Object.keys(DRIVERS).map((client) => ({
    name, client, keys: Array.from({ length: ACCOUNTS }, (_, i) => derive(key, name, client, i)),
  })));
  const addresses = runs.flatMap(({ keys }) => keys.slice(0, 2).map((k) => privateKeyToAddress(k)));
  const comparison = new Comparison();
  const funded = await Promise.all(chains.map((chain) => fund(chain, key, addresses)));
  comparison.steps('funding', ...funded);

  const done = await Promise.allSettled(runs.map(async ({ name, client, keys }) => {
    const begun = Date.now();
    const recorders = chains.map((chain) => new Recorder(chain, keys.map((k) => new DRIVERS[client](chain, k))));
    await Promise.all(recorders.map(async (recorder) => {
      await SCENARIOS[name](recorder).catch((error) => {
        throw new Error(`${name} with ${client} on ${recorder.chain.name}, after ${recorder.steps.at(-1)?.name}`, { cause: error });
      });
      await recorder.finish();
    }));
    return { name, client, recorders, seconds: (Date.now() - begun) / 1000 };
  }));
  const failed = done.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  if (failed.length > 0) throw new Error(failed.map((error) => `${error.message}: ${error.cause?.stack ?? error.stack}`).join('\n'));
  const scenarios = [];
  for (const { name, client, recorders, seconds } of done.map(({ value }) => value)) {
    const [annex, anvil] = await Promise.all(recorders.map((recorder) => recorder.states()));
    comparison.steps(`${name} with ${client}`, annex, anvil);
    const gas = annex.reduce((sum, { executionGas = 0n }) => sum + executionGas, 0n);
    scenarios.push({ name, client, steps: annex.length, gas, seconds });
  }
  return { scenarios, ...comparison.report() };
});
