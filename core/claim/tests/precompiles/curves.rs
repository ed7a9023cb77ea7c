//! Points of the pairing curves, in and outside the prime-order subgroups, by arithmetic of our own.

use alloy_primitives::{Uint, uint};
use rand::Rng;
use rand::rngs::SmallRng;

pub type U384 = Uint<384, 6>;

/// A prime field with p ≡ 3 mod 4, and the quadratic extension by i² = -1.
#[derive(Clone, Copy)]
pub struct Prime(pub U384);

pub const BLS: Prime = Prime(uint!(
    0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB_U384
));
pub const BN: Prime =
    Prime(uint!(0x30644E72E131A029B85045B68181585D97816A916871CA8D3C208C16D87CFD47_U384));

pub type Pair = (U384, U384);

impl Prime {
    pub fn of(self, number: u64) -> U384 {
        U384::from(number)
    }

    pub fn random(self, random: &mut SmallRng) -> U384 {
        U384::from_be_bytes(random.random::<[u8; 48]>()).reduce_mod(self.0)
    }

    pub fn neg(self, a: U384) -> U384 {
        if a.is_zero() { a } else { self.0 - a }
    }

    fn mul(self, a: U384, b: U384) -> U384 {
        a.mul_mod(b, self.0)
    }

    fn add(self, a: U384, b: U384) -> U384 {
        a.add_mod(b, self.0)
    }

    fn sqrt(self, a: U384) -> Option<U384> {
        let root = a.pow_mod((self.0 + U384::ONE) >> 2, self.0);
        (self.mul(root, root) == a).then_some(root)
    }

    fn mul_pair(self, a: Pair, b: Pair) -> Pair {
        let real = self.add(self.mul(a.0, b.0), self.neg(self.mul(a.1, b.1)));
        (real, self.add(self.mul(a.0, b.1), self.mul(a.1, b.0)))
    }

    fn sqrt_pair(self, a: Pair) -> Option<Pair> {
        let norm = self.sqrt(self.add(self.mul(a.0, a.0), self.mul(a.1, a.1)))?;
        let half = U384::from(2).inv_mod(self.0)?;
        for norm in [norm, self.neg(norm)] {
            let Some(real) = self.sqrt(self.mul(self.add(a.0, norm), half)) else { continue };
            let Some(inverse) = self.add(real, real).inv_mod(self.0) else { continue };
            let root = (real, self.mul(a.1, inverse));
            if self.mul_pair(root, root) == a {
                return Some(root);
            }
        }
        None
    }

    /// A point of y² = x³ + b; in the subgroup only by chance.
    pub fn point(self, b: U384, random: &mut SmallRng) -> (U384, U384) {
        loop {
            let x = self.random(random);
            let right = self.add(self.mul(self.mul(x, x), x), b);
            if let Some(y) = self.sqrt(right) {
                return (x, y);
            }
        }
    }

    /// A point of the curve over the extension; in the subgroup only by chance.
    pub fn point_pair(self, b: Pair, random: &mut SmallRng) -> (Pair, Pair) {
        loop {
            let x = (self.random(random), self.random(random));
            let cube = self.mul_pair(self.mul_pair(x, x), x);
            let right = (self.add(cube.0, b.0), self.add(cube.1, b.1));
            if let Some(y) = self.sqrt_pair(right) {
                return (x, y);
            }
        }
    }

    /// BN254's coefficient over the extension: 3 / (9 + i).
    pub fn bn_twist(self) -> Pair {
        let inverse = U384::from(82).inv_mod(self.0).unwrap();
        (self.mul(self.of(27), inverse), self.neg(self.mul(self.of(3), inverse)))
    }
}

/// 32 bytes, of a number that fits.
pub fn word(number: U384) -> [u8; 32] {
    let bytes: [u8; 48] = number.to_be_bytes();
    bytes[16..].try_into().unwrap()
}

/// 64 bytes, as EIP-2537 pads.
pub fn padded(number: U384) -> Vec<u8> {
    [&[0; 16][..], &number.to_be_bytes::<48>()].concat()
}
