// OpenZeppelin's ERC-20, ERC-721 and ERC-1155 with roles and a pause, as published, and version 5 with permits.
import { parseSignature, zeroAddress } from 'viem';
import { Token } from '../lib/contracts.js';
import { Erc1155, Erc20, Erc721 } from './artifacts.js';

const ETHER = 10n ** 18n;
// 2100: no chain here gets there.
export const DEADLINE = 4_102_444_800n;

export async function erc20(t) {
  const [me, other, third] = t.accounts.map(({ address }) => address);
  const token = await t.deploy('erc20', Erc20, ['Preset', 'PRE']);
  await t.send('mint', token, 'mint', [me, 1_000n * ETHER]);
  await t.send('transfer', token, 'transfer', [other, ETHER]);
  await t.send('transfer of nothing', token, 'transfer', [third, 0n]);
  await t.fails('transfer of too much', token, 'transfer', [other, 10_000n * ETHER]);
  await t.fails('transfer to nobody', token, 'transfer', [zeroAddress, 1n]);
  await t.send('approve', token, 'approve', [other, 5n * ETHER]);
  await t.send('transferFrom', token, 'transferFrom', [me, third, 2n * ETHER], { from: 1 });
  await t.fails('transferFrom of too much', token, 'transferFrom', [me, third, 4n * ETHER], { from: 1 });
  await t.fails('mint without the role', token, 'mint', [other, 1n], { from: 1 });
  await t.send('burn', token, 'burn', [ETHER]);
  await t.send('pause', token, 'pause', []);
  await t.fails('transfer while paused', token, 'transfer', [other, 1n]);
  await t.send('unpause', token, 'unpause', []);
  for (const owner of [me, other, third]) await t.read(`balance of ${owner}`, token, 'balanceOf', [owner]);
  await t.read('supply', token, 'totalSupply');
  await t.read('names', token, 'name');
}

export async function permits(t) {
  const [me, other] = t.accounts.map(({ address }) => address);
  const token = await t.deploy('token', Token, ['Permitted', 'PER', 1_000n * ETHER]);
  await t.fails('a custom error', token, 'transferFrom', [me, other, 1n], { from: 1 });
  await t.fails('a custom error with numbers', token, 'transfer', [other, 5_000n * ETHER]);
  const domain = { name: 'Permitted', version: '1', chainId: t.chain.id, verifyingContract: token.address };
  t.same('domain', await t.read('domain separator', token, 'DOMAIN_SEPARATOR'));
  const types = {
    Permit: [['address', 'owner'], ['address', 'spender'], ['uint256', 'value'], ['uint256', 'nonce'], ['uint256', 'deadline']]
      .map(([type, name]) => ({ type, name })),
  };
  const sign = async (index, nonce, value) => parseSignature(await t.account(index).signTyped(
    domain, types, 'Permit', { owner: me, spender: other, value, nonce, deadline: DEADLINE }));
  const { v, r, s } = await sign(0, 0n, 7n);
  const args = [me, other, 7n, DEADLINE, Number(v), r, s];
  await t.send('permit', token, 'permit', args, { from: 1 });
  await t.fails('permit again', token, 'permit', args, { from: 1 });
  const wrong = await sign(1, 1n, 7n);
  await t.fails('permit of another', token, 'permit', [me, other, 7n, DEADLINE, Number(wrong.v), wrong.r, wrong.s]);
  await t.fails('permit too late', token, 'permit', [me, other, 7n, 1n, Number(v), r, s]);
  await t.send('transferFrom', token, 'transferFrom', [me, other, 7n], { from: 1 });
  await t.read('nonce', token, 'nonces', [me]);
}

export async function erc721(t) {
  const [me, other] = t.accounts.map(({ address }) => address);
  const art = await t.deploy('erc721', Erc721, ['Art', 'ART', 'https://example.org/']);
  for (const id of [0, 1, 2]) await t.send(`mint ${id}`, art, 'mint', [me]);
  await t.send('transferFrom', art, 'transferFrom', [me, other, 0n]);
  await t.send('safeTransferFrom', art, 'safeTransferFrom', [me, other, 1n]);
  await t.send('safeTransferFrom with data', art, 'safeTransferFrom', [other, me, 1n, '0x1234'], { from: 1 });
  await t.fails('to a contract that receives nothing', art, 'safeTransferFrom', [me, art.address, 1n]);
  await t.fails('of another', art, 'transferFrom', [other, me, 0n]);
  await t.send('approve', art, 'approve', [me, 0n], { from: 1 });
  await t.send('by approval', art, 'transferFrom', [other, me, 0n]);
  await t.send('approve all', art, 'setApprovalForAll', [other, true]);
  await t.send('burn', art, 'burn', [2n], { from: 1 });
  await t.read('owner', art, 'ownerOf', [0n]);
  await t.read('uri', art, 'tokenURI', [1n]);
  await t.read('enumerated', art, 'tokenOfOwnerByIndex', [me, 1n]);
  await t.read('interface', art, 'supportsInterface', ['0x80ac58cd']);
  await t.read('supply', art, 'totalSupply');
}

export async function erc1155(t) {
  const [me, other] = t.accounts.map(({ address }) => address);
  const many = await t.deploy('erc1155', Erc1155, ['https://example.org/{id}']);
  await t.send('mint', many, 'mint', [me, 1n, 100n, '0x']);
  await t.send('mint batch', many, 'mintBatch', [me, [2n, 3n, 4n], [10n, 20n, 30n], '0xab']);
  await t.send('transfer', many, 'safeTransferFrom', [me, other, 1n, 40n, '0x']);
  await t.send('transfer batch', many, 'safeBatchTransferFrom', [me, other, [2n, 3n], [1n, 2n], '0x']);
  await t.fails('to a contract that receives nothing', many, 'safeTransferFrom', [me, many.address, 1n, 1n, '0x']);
  await t.fails('lists of different lengths', many, 'safeBatchTransferFrom', [me, other, [2n, 3n], [1n], '0x']);
  await t.fails('of another', many, 'safeTransferFrom', [other, me, 1n, 1n, '0x']);
  await t.send('approve all', many, 'setApprovalForAll', [me, true], { from: 1 });
  await t.send('by approval', many, 'safeTransferFrom', [other, me, 1n, 40n, '0x']);
  await t.send('burn batch', many, 'burnBatch', [me, [1n, 2n], [100n, 9n]]);
  await t.read('balances', many, 'balanceOfBatch', [[me, other, me], [1n, 2n, 4n]]);
  await t.read('uri', many, 'uri', [1n]);
}
