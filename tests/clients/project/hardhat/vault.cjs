// A project's own tests, through ethers and through viem; the transactions are noted for whoever started them.
const assert = require('node:assert/strict');
const { appendFileSync } = require('node:fs');
const hre = require('hardhat');

const note = (name, hash) => appendFileSync(process.env.NOTES, `${JSON.stringify([name, hash])}\n`);

describe('Vault', () => {
  it('is deployed and used through ethers', async () => {
    const { ethers } = hre;
    const [me, ...others] = await ethers.getSigners();
    assert.equal(others.length, 0);
    const vault = await ethers.deployContract('Vault', ['ethers'], { value: 9n });
    note('deploy with ethers', vault.deploymentTransaction().hash);
    await vault.waitForDeployment();
    assert.equal(await vault.name(), 'ethers');
    const kept = await (await vault.keep('more', { value: 4n })).wait();
    note('keep with ethers', kept.hash);
    const [log] = kept.logs;
    assert.deepEqual([...log.args], [me.address, 4n, 'more']);
    const taken = await (await vault.take(13n)).wait();
    note('take with ethers', taken.hash);
    assert.equal(await ethers.provider.getBalance(vault), 0n);
    await assert.rejects(vault.take(5n), (error) => {
      const [data] = [error.data ?? error.info?.error?.data].flat();
      assert.equal(vault.interface.parseError(data.data ?? data).name, 'TooMuch');
      return true;
    });
    await assert.rejects(vault.take(0n), /nothing to take/);
  });

  it('is deployed and used through viem', async () => {
    const { url } = hre.network.config;
    const id = Number(await hre.network.provider.send('eth_chainId'));
    const chain = { id, name: 'node', nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 }, rpcUrls: { default: { http: [url] } } };
    const reader = await hre.viem.getPublicClient({ chain, pollingInterval: 50 });
    const [wallet] = await hre.viem.getWalletClients({ chain });
    const sent = await hre.viem.sendDeploymentTransaction('Builder', [], { client: { public: reader, wallet } });
    note('deploy with viem', sent.deploymentTransaction.hash);
    await reader.waitForTransactionReceipt(sent.deploymentTransaction);
    const hash = await sent.contract.write.build([`0x${'07'.repeat(32)}`]);
    note('build with viem', hash);
    const receipt = await reader.waitForTransactionReceipt({ hash });
    assert.equal(receipt.status, 'success');
    assert.equal(receipt.from, wallet.account.address.toLowerCase());
    await assert.rejects(sent.contract.write.build([`0x${'07'.repeat(32)}`]), /revert/);
  });
});
