//! Keccak-256 of many messages. Where the processor can, several are hashed at once: the state of
//! each stands in one 64-bit part of the vector registers.

use alloy_primitives::{B256, keccak256};

/// The hash of each message, in order.
pub fn keccak256_all<T: AsRef<[u8]>>(messages: &[T]) -> Vec<B256> {
    #[cfg(all(feature = "host", target_arch = "x86_64"))]
    if messages.len() > 1 {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what `hash` is compiled for.
            #[allow(unsafe_code)]
            return in_lanes(messages, |lanes| unsafe { avx512::hash(lanes) });
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what `hash` is compiled for.
            #[allow(unsafe_code)]
            return in_lanes(messages, |lanes| unsafe { avx2::hash(lanes) });
        }
    }
    messages.iter().map(keccak256).collect()
}

#[cfg(all(feature = "host", target_arch = "x86_64"))]
use lanes::{avx2, avx512, in_lanes};

#[cfg(all(feature = "host", target_arch = "x86_64"))]
mod lanes {
    use super::*;

    /// Bytes of a block: the rate of Keccak-256.
    const RATE: usize = 136;

    /// Groups messages with equally many blocks and hashes `N` at a time by `hash`.
    pub(super) fn in_lanes<T: AsRef<[u8]>, const N: usize>(
        messages: &[T],
        hash: impl Fn(&[&[u8]; N]) -> [B256; N],
    ) -> Vec<B256> {
        let blocks = |i: &u32| messages[*i as usize].as_ref().len() / RATE;
        let mut order: Vec<u32> = (0..messages.len() as u32).collect();
        order.sort_by_key(blocks);
        let mut hashes = vec![B256::ZERO; messages.len()];
        for group in order.chunk_by(|a, b| blocks(a) == blocks(b)).flat_map(|run| run.chunks(N)) {
            if let [one] = group {
                hashes[*one as usize] = keccak256(&messages[*one as usize]);
                continue;
            }
            // Parts without a message of their own repeat the last one.
            let lane = |n: usize| messages[group[n.min(group.len() - 1)] as usize].as_ref();
            let found = hash(&core::array::from_fn(lane));
            for (index, hash) in group.iter().zip(found) {
                hashes[*index as usize] = hash;
            }
        }
        hashes
    }

    /// The last block of a message: what is left, padded.
    fn last_block(message: &[u8]) -> [u8; RATE] {
        let rest = &message[message.len() / RATE * RATE..];
        let mut block = [0; RATE];
        block[..rest.len()].copy_from_slice(rest);
        block[rest.len()] = 0x01;
        block[RATE - 1] |= 0x80;
        block
    }

    /// Word `index` of a block.
    #[inline(always)]
    fn word(block: &[u8; RATE], index: usize) -> i64 {
        let bytes = &block[index * 8..][..8];
        i64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    const ROUND_CONSTANTS: [u64; 24] = [
        0x0000_0000_0000_0001,
        0x0000_0000_0000_8082,
        0x8000_0000_0000_808a,
        0x8000_0000_8000_8000,
        0x0000_0000_0000_808b,
        0x0000_0000_8000_0001,
        0x8000_0000_8000_8081,
        0x8000_0000_0000_8009,
        0x0000_0000_0000_008a,
        0x0000_0000_0000_0088,
        0x0000_0000_8000_8009,
        0x0000_0000_8000_000a,
        0x0000_0000_8000_808b,
        0x8000_0000_0000_008b,
        0x8000_0000_0000_8089,
        0x8000_0000_0000_8003,
        0x8000_0000_0000_8002,
        0x8000_0000_0000_0080,
        0x0000_0000_0000_800a,
        0x8000_0000_8000_000a,
        0x8000_0000_8000_8081,
        0x8000_0000_0000_8080,
        0x0000_0000_8000_0001,
        0x8000_0000_8000_8008,
    ];

    /// Keccak-f\[1600\] (FIPS 202, 3.2) and the sponge around it, on vectors of `$lanes` words, by
    /// the operations of the enclosing module.
    macro_rules! sponge {
        ($feature:literal, $vector:ty, $lanes:literal) => {
            /// The hashes of messages with equally many blocks.
            #[target_feature(enable = $feature)]
            pub(in super::super) fn hash(messages: &[&[u8]; $lanes]) -> [B256; $lanes] {
                let whole = messages[0].len() / RATE;
                let last: [[u8; RATE]; $lanes] = core::array::from_fn(|n| last_block(messages[n]));
                let mut state = [splat(0); 25];
                for at in 0..=whole {
                    let blocks: [&[u8; RATE]; $lanes] = core::array::from_fn(|n| {
                        let block = messages[n][at * RATE..].first_chunk();
                        block.filter(|_| at < whole).unwrap_or(&last[n])
                    });
                    for index in 0..RATE / 8 {
                        state[index] = xor(state[index], gather(&blocks, index));
                    }
                    state = permute(state);
                }
                let words: [[u64; $lanes]; 4] = core::array::from_fn(|n| words(state[n]));
                core::array::from_fn(|lane| {
                    let mut hash = B256::ZERO;
                    for (bytes, words) in hash.chunks_exact_mut(8).zip(&words) {
                        bytes.copy_from_slice(&words[lane].to_le_bytes());
                    }
                    hash
                })
            }

            #[target_feature(enable = $feature)]
            #[inline]
            fn permute(a: [$vector; 25]) -> [$vector; 25] {
                ROUND_CONSTANTS.into_iter().fold(a, |a, constant| round(a, constant as i64))
            }

            #[target_feature(enable = $feature)]
            #[inline]
            fn round(a: [$vector; 25], constant: i64) -> [$vector; 25] {
                let c = [
                    xor3(xor3(a[0], a[5], a[10]), a[15], a[20]),
                    xor3(xor3(a[1], a[6], a[11]), a[16], a[21]),
                    xor3(xor3(a[2], a[7], a[12]), a[17], a[22]),
                    xor3(xor3(a[3], a[8], a[13]), a[18], a[23]),
                    xor3(xor3(a[4], a[9], a[14]), a[19], a[24]),
                ];
                let d = [
                    xor(c[4], rotate::<1, 63>(c[1])),
                    xor(c[0], rotate::<1, 63>(c[2])),
                    xor(c[1], rotate::<1, 63>(c[3])),
                    xor(c[2], rotate::<1, 63>(c[4])),
                    xor(c[3], rotate::<1, 63>(c[0])),
                ];
                // Row by row of the result: what ρ and π bring there, then χ.
                let row = [
                    xor(a[0], d[0]),
                    rotate::<44, 20>(xor(a[6], d[1])),
                    rotate::<43, 21>(xor(a[12], d[2])),
                    rotate::<21, 43>(xor(a[18], d[3])),
                    rotate::<14, 50>(xor(a[24], d[4])),
                ];
                let mut out = [splat(0); 25];
                [out[0], out[1], out[2], out[3], out[4]] = chi(row);
                out[0] = xor(out[0], splat(constant));
                let row = [
                    rotate::<28, 36>(xor(a[3], d[3])),
                    rotate::<20, 44>(xor(a[9], d[4])),
                    rotate::<3, 61>(xor(a[10], d[0])),
                    rotate::<45, 19>(xor(a[16], d[1])),
                    rotate::<61, 3>(xor(a[22], d[2])),
                ];
                [out[5], out[6], out[7], out[8], out[9]] = chi(row);
                let row = [
                    rotate::<1, 63>(xor(a[1], d[1])),
                    rotate::<6, 58>(xor(a[7], d[2])),
                    rotate::<25, 39>(xor(a[13], d[3])),
                    rotate::<8, 56>(xor(a[19], d[4])),
                    rotate::<18, 46>(xor(a[20], d[0])),
                ];
                [out[10], out[11], out[12], out[13], out[14]] = chi(row);
                let row = [
                    rotate::<27, 37>(xor(a[4], d[4])),
                    rotate::<36, 28>(xor(a[5], d[0])),
                    rotate::<10, 54>(xor(a[11], d[1])),
                    rotate::<15, 49>(xor(a[17], d[2])),
                    rotate::<56, 8>(xor(a[23], d[3])),
                ];
                [out[15], out[16], out[17], out[18], out[19]] = chi(row);
                let row = [
                    rotate::<62, 2>(xor(a[2], d[2])),
                    rotate::<55, 9>(xor(a[8], d[3])),
                    rotate::<39, 25>(xor(a[14], d[4])),
                    rotate::<41, 23>(xor(a[15], d[0])),
                    rotate::<2, 62>(xor(a[21], d[1])),
                ];
                [out[20], out[21], out[22], out[23], out[24]] = chi(row);
                out
            }

            #[target_feature(enable = $feature)]
            #[inline]
            fn chi(b: [$vector; 5]) -> [$vector; 5] {
                [
                    choose(b[0], b[1], b[2]),
                    choose(b[1], b[2], b[3]),
                    choose(b[2], b[3], b[4]),
                    choose(b[3], b[4], b[0]),
                    choose(b[4], b[0], b[1]),
                ]
            }
        };
    }

    /// Eight messages at a time.
    pub(super) mod avx512 {
        use super::*;
        use core::arch::x86_64::*;

        sponge!("avx512f", __m512i, 8);

        #[target_feature(enable = "avx512f")]
        #[inline]
        fn splat(word: i64) -> __m512i {
            _mm512_set1_epi64(word)
        }

        #[target_feature(enable = "avx512f")]
        #[inline]
        fn xor(a: __m512i, b: __m512i) -> __m512i {
            _mm512_xor_si512(a, b)
        }

        #[target_feature(enable = "avx512f")]
        #[inline]
        fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
            _mm512_ternarylogic_epi64::<0x96>(a, b, c)
        }

        /// `a ^ (!b & c)`.
        #[target_feature(enable = "avx512f")]
        #[inline]
        fn choose(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
            _mm512_ternarylogic_epi64::<0xd2>(a, b, c)
        }

        #[target_feature(enable = "avx512f")]
        #[inline]
        fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m512i) -> __m512i {
            const { assert!(LEFT + RIGHT == 64) };
            _mm512_rol_epi64::<LEFT>(a)
        }

        #[target_feature(enable = "avx512f")]
        #[inline]
        fn gather(blocks: &[&[u8; RATE]; 8], index: usize) -> __m512i {
            let w: [i64; 8] = core::array::from_fn(|n| word(blocks[n], index));
            _mm512_set_epi64(w[7], w[6], w[5], w[4], w[3], w[2], w[1], w[0])
        }

        #[target_feature(enable = "avx512f")]
        #[inline]
        fn words(a: __m512i) -> [u64; 8] {
            let halves = [_mm512_extracti64x4_epi64::<0>(a), _mm512_extracti64x4_epi64::<1>(a)];
            core::array::from_fn(|n| super::avx2::words(halves[n / 4])[n % 4])
        }
    }

    /// Four messages at a time.
    pub(super) mod avx2 {
        use super::*;
        use core::arch::x86_64::*;

        sponge!("avx2", __m256i, 4);

        #[target_feature(enable = "avx2")]
        #[inline]
        fn splat(word: i64) -> __m256i {
            _mm256_set1_epi64x(word)
        }

        #[target_feature(enable = "avx2")]
        #[inline]
        fn xor(a: __m256i, b: __m256i) -> __m256i {
            _mm256_xor_si256(a, b)
        }

        #[target_feature(enable = "avx2")]
        #[inline]
        fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
            xor(xor(a, b), c)
        }

        /// `a ^ (!b & c)`.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn choose(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
            xor(a, _mm256_andnot_si256(b, c))
        }

        #[target_feature(enable = "avx2")]
        #[inline]
        fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
            const { assert!(LEFT + RIGHT == 64) };
            _mm256_or_si256(_mm256_slli_epi64::<LEFT>(a), _mm256_srli_epi64::<RIGHT>(a))
        }

        #[target_feature(enable = "avx2")]
        #[inline]
        fn gather(blocks: &[&[u8; RATE]; 4], index: usize) -> __m256i {
            let w: [i64; 4] = core::array::from_fn(|n| word(blocks[n], index));
            _mm256_set_epi64x(w[3], w[2], w[1], w[0])
        }

        #[target_feature(enable = "avx2")]
        #[inline]
        pub(super) fn words(a: __m256i) -> [u64; 4] {
            [
                _mm256_extract_epi64::<0>(a) as u64,
                _mm256_extract_epi64::<1>(a) as u64,
                _mm256_extract_epi64::<2>(a) as u64,
                _mm256_extract_epi64::<3>(a) as u64,
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn check(messages: &[Vec<u8>]) -> Result<(), TestCaseError> {
        let expected: Vec<B256> = messages.iter().map(keccak256).collect();
        prop_assert_eq!(&keccak256_all(messages), &expected);
        #[cfg(all(feature = "host", target_arch = "x86_64"))]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what `hash` is compiled for.
            #[allow(unsafe_code)]
            let hashes = in_lanes(messages, |lanes| unsafe { avx2::hash(lanes) });
            prop_assert_eq!(&hashes, &expected);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn hashes_are_those_of_alloy(messages in vec(vec(any::<u8>(), 0..700), 0..40)) {
            check(&messages)?;
        }

        #[test]
        fn around_the_ends_of_blocks(
            messages in vec((0_usize..6, 0_usize..5, any::<u8>()), 1..30),
        ) {
            let message = |(blocks, more, byte): (usize, usize, u8)| vec![byte; (136 * blocks + more).max(2) - 2];
            check(&messages.into_iter().map(message).collect::<Vec<_>>())?;
        }
    }
}
