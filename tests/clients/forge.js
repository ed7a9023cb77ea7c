// `forge create` and `forge script --broadcast`, then the same comparison: `node forge.js ANNEX_URL KEY ANVIL_URL`.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { keccak256 } from 'viem';
import { Chain } from './lib/chain.js';
import { Comparison } from './lib/compare.js';
import { observe } from './lib/record.js';
import { run } from './lib/run.js';

const packaged = fileURLToPath(new URL('../../contracts/node_modules/.bin/forge', import.meta.url));
const binary = process.env.FORGE ?? packaged;
const project = fileURLToPath(new URL('./project', import.meta.url));
const execute = promisify(execFile);

async function forge(folder, command, ...args) {
  const env = { ...process.env, FOUNDRY_DISABLE_NIGHTLY_WARNING: '1', FOUNDRY_BROADCAST: folder, NO_COLOR: '1' };
  const { stdout } = await execute(binary, [command, '--root', project, ...args], { cwd: project, maxBuffer: 1 << 24, env });
  return stdout;
}

async function deploy(chain, key) {
  const folder = mkdtempSync(join(tmpdir(), 'forge-'));
  try {
    const signed = ['--rpc-url', chain.url, '--private-key', key];
    const created = JSON.parse(await forge(folder, 'create', 'src/Vault.sol:Vault', ...signed, '--broadcast', '--json', '--value', '3',
      '--constructor-args', 'created'));
    await forge(folder, 'script', 'script/Deploy.s.sol:Deploy', ...signed, '--broadcast', '--non-interactive', '--sig', 'run(bytes32)', keccak256(key));
    const { transactions, receipts } = JSON.parse(readFileSync(
      join(folder, 'Deploy.s.sol', String(chain.id), 'run-latest.json'), 'utf8'));
    assert.equal(receipts.length, transactions.length);
    assert.ok(receipts.every(({ status }) => Number(status) === 1));
    // Several at a time are sent in any order, and noted in it.
    const sent = await Promise.all(receipts.map(({ transactionHash }) => chain.transaction(transactionHash)));
    sent.sort((a, b) => Number(a.nonce) - Number(b.nonce));
    const steps = sent.map(({ hash }, i) => [`transaction ${i} of the script`, hash]);
    return await observe(chain, [['create', created.transactionHash], ...steps]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

run(async ({ url, key, ws: anvilUrl }) => {
  assert.ok(existsSync(binary), 'no forge: run `npm ci --prefix contracts`, or set FORGE');
  // Both chains find it built.
  await forge(tmpdir(), 'build');
  const chains = [await Chain.open(url), await Chain.open(anvilUrl)];
  const comparison = new Comparison({ ownFees: true });
  const recorded = await Promise.all(chains.map((chain) => deploy(chain, key)));
  comparison.steps('forge', ...recorded);
  return { steps: recorded[0].length, ...comparison.report() };
});
