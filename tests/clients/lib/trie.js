// The root of an account's storage trie, out of its slots.
import { concat, keccak256, pad, toHex, toRlp } from 'viem';

const nibbles = (hex) => [...hex.slice(2)];
// A path with its flags (Yellow Paper, appendix C).
function path(list, leaf) {
  const odd = list.length % 2 === 1;
  return `0x${(leaf ? 2 : 0) + (odd ? 1 : 0)}${odd ? '' : '0'}${list.join('')}`;
}

function node(entries, depth) {
  const [[first, value]] = entries;
  if (entries.length === 1) return [path(first.slice(depth), true), value];
  let shared = depth;
  while (entries.every(([key]) => key[shared] === first[shared])) shared += 1;
  if (shared > depth) return [path(first.slice(depth, shared), false), reference(node(entries, shared))];
  const children = Array.from({ length: 16 }, (_, i) => {
    const below = entries.filter(([key]) => key[depth] === i.toString(16));
    return below.length > 0 ? reference(node(below, depth + 1)) : '0x';
  });
  return [...children, '0x'];
}

// A node in its parent: itself if it is short, else its hash.
function reference(made) {
  const encoded = toRlp(made);
  return encoded.length < 66 ? made : keccak256(encoded);
}

export function storageRoot(slots) {
  const entries = Object.entries(slots).filter(([, value]) => BigInt(value) !== 0n)
    .map(([slot, value]) => [nibbles(keccak256(pad(toHex(BigInt(slot))))), toRlp(toHex(BigInt(value)))]);
  return keccak256(entries.length > 0 ? toRlp(node(entries, 0)) : concat(['0x80']));
}
