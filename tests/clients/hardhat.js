// Hardhat's `compile`, `test` and `run`, then the comparison: `node hardhat.js ANNEX_URL KEY ANVIL_URL`.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Chain } from './lib/chain.js';
import { Comparison } from './lib/compare.js';
import { observe } from './lib/record.js';
import { run } from './lib/run.js';

const binary = fileURLToPath(new URL('./node_modules/.bin/hardhat', import.meta.url));
const config = fileURLToPath(new URL('./project/hardhat.config.cjs', import.meta.url));
const project = fileURLToPath(new URL('./project', import.meta.url));
const execute = promisify(execFile);

const hardhat = (env, ...args) => execute(binary, ['--config', config, ...args], {
  cwd: project, maxBuffer: 1 << 24, env: { ...process.env, ...env, HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true', CI: 'true' },
}).catch((error) => { throw new Error(`${error.message}\n${error.stdout}`); });

async function test(chain, key) {
  const folder = mkdtempSync(join(tmpdir(), 'hardhat-'));
  try {
    const env = { NODE_URL: chain.url, NODE_KEY: key, NOTES: join(folder, 'notes') };
    await hardhat(env, 'test', '--no-compile', 'hardhat/vault.cjs');
    await hardhat(env, 'run', '--no-compile', 'hardhat/run.cjs');
    const notes = readFileSync(env.NOTES, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    return await observe(chain, notes);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

run(async ({ url, key, ws: anvilUrl }) => {
  await hardhat({}, 'compile');
  const chains = [await Chain.open(url), await Chain.open(anvilUrl)];
  const recorded = await Promise.all(chains.map((chain) => test(chain, key)));
  const comparison = new Comparison({ ownFees: true });
  comparison.steps('hardhat', ...recorded);
  return { steps: recorded[0].length, ...comparison.report() };
});
