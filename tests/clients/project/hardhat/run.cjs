// For `hardhat run`: a script that sends by hand.
const { appendFileSync } = require('node:fs');
const hre = require('hardhat');

async function main() {
  const [me] = await hre.ethers.getSigners();
  const factory = await hre.ethers.getContractFactory('Vault', me);
  const vault = await factory.deploy('run');
  appendFileSync(process.env.NOTES, `${JSON.stringify(['deploy by run', vault.deploymentTransaction().hash])}\n`);
  await vault.waitForDeployment();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
