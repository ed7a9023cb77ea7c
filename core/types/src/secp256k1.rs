//! Public keys from ECDSA signatures over secp256k1 (SEC 1, 4.1.6), without C and without verifying again.
//!
//! The proof machine counts instructions, and there are no secrets here, so this is written for few of them and takes a time
//! that depends on its input: scalars are halved with the curve's endomorphism (Gallant, Lambert, Vanstone), and all four halves
//! are worked off at once in signed windows (Straus). Field arithmetic is k256's. The bounds that its lazy
//! reduction asks for stand as magnitudes beside the formulas, which are those of libsecp256k1.

use std::sync::OnceLock;

use alloy_primitives::{B256, U256, uint};
use k256::FieldElement as Field;

const FIELD: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F_U256);
const ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
/// A third root of unity of the field: `(BETA · x, y)` is a multiple of `(x, y)`.
const BETA: U256 = uint!(0x7AE96A2B657C07106E64479EAC3434E99CF0497512F58995C1396C28719501EE_U256);
const GENERATOR: (U256, U256) = (
    uint!(0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798_U256),
    uint!(0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8_U256),
);

/// Odd multiples of a point that a window of this width needs are `2^(width - 2)`.
const GENERATOR_WINDOW: usize = 9;
const POINT_WINDOW: usize = 5;
/// Binary digits of a halved scalar, one for the carry, and one that keeps the last window signed.
const DIGITS: usize = 130;

/// Affine, of magnitude 1.
#[derive(Clone, Copy)]
struct Affine {
    x: Field,
    y: Field,
}

/// Jacobian: `(x / z², y / z³)`. Magnitudes are at most 6, 4 and 2.
#[derive(Clone, Copy)]
struct Jacobian {
    x: Field,
    y: Field,
    z: Field,
}

/// The uncompressed public key, without its first byte, whose owner signed `hash` with `rs` = r ‖ s. `odd_y` tells which of
/// the two points with abscissa r is meant; abscissas of n and above are not. Takes an s in either half of the order.
pub fn recover(rs: &[u8; 64], odd_y: bool, hash: B256) -> Option<[u8; 64]> {
    let (r, s) = (U256::from_be_slice(&rs[..32]), U256::from_be_slice(&rs[32..]));
    if r.is_zero() || s.is_zero() || r >= ORDER || s >= ORDER {
        return None;
    }
    let point = lift(r, odd_y)?;
    let inverse = r.inv_mod(ORDER)?;
    let message = U256::from_be_bytes(hash.0).reduce_mod(ORDER);
    let by_generator = ORDER - message.mul_mod(inverse, ORDER);
    let by_point = s.mul_mod(inverse, ORDER);
    let key = sum_of_multiples(by_generator.reduce_mod(ORDER), point, by_point)?;
    let mut out = [0; 64];
    let z = inverse_of(key.z);
    let z2 = z.square();
    out[..32].copy_from_slice(&key.x.mul(&z2).to_bytes());
    out[32..].copy_from_slice(&key.y.mul(&z2.mul(&z)).to_bytes());
    Some(out)
}

/// Of a number below the field's modulus.
fn field(number: U256) -> Field {
    let bytes = number.to_be_bytes::<32>();
    Option::from(Field::from_bytes(&bytes.into())).expect("numbers here are below the modulus")
}

/// Of a field element that is not zero.
fn inverse_of(element: Field) -> Field {
    let number = U256::from_be_bytes::<32>(element.to_bytes().into());
    field(number.inv_mod(FIELD).unwrap_or_default())
}

/// The point with this abscissa.
fn lift(x: U256, odd_y: bool) -> Option<Affine> {
    let x = field(x);
    let right = x.square().mul(&x) + Field::from_u64(7);
    let y: Field = Option::<Field>::from(right.sqrt())?.normalize();
    let is_odd = bool::from(y.is_odd());
    let y = if is_odd == odd_y { y } else { y.negate(1).normalize() };
    Some(Affine { x, y })
}

impl Jacobian {
    fn of(point: &Affine) -> Self {
        Self { x: point.x, y: point.y, z: Field::ONE }
    }

    /// No point of the curve has order two.
    fn double(&self) -> Self {
        let z = self.y.mul(&self.z).mul_single(2); // 2
        let t1 = self.x.square().mul_single(3); // 3: 3x²
        let t2 = t1.square(); // 1: 9x⁴
        let t3 = self.y.square().mul_single(2); // 2: 2y²
        let t4 = t3.square().mul_single(2); // 2: 8y⁴
        let t3 = t3.mul(&self.x); // 1: 2xy²
        let x = t3.mul_single(4).negate(4) + t2; // 6
        let t3 = t3.mul_single(6) + t2.negate(1); // 8: 12xy² - 9x⁴
        let y = t1.mul(&t3) + t4.negate(2); // 4
        Self { x, y, z }
    }

    /// `None` is the point at infinity.
    fn add(&self, point: &Affine) -> Option<Self> {
        let z2 = self.z.square();
        let u1 = self.x.normalize_weak();
        let s1 = self.y.normalize_weak();
        let u2 = point.x.mul(&z2);
        let s2 = point.y.mul(&z2).mul(&self.z);
        let h = u1.negate(1) + u2; // 3
        let i = s1.negate(1) + s2; // 3
        if bool::from(h.normalizes_to_zero()) {
            return bool::from(i.normalizes_to_zero()).then(|| self.double());
        }
        let h2 = h.square();
        let h3 = h.mul(&h2);
        let t = u1.mul(&h2);
        let z = self.z.mul(&h); // 1
        let x = (t.mul_single(2) + h3).negate(3) + i.square(); // 5
        let y = (x.negate(5) + t).mul(&i) + s1.mul(&h3).negate(1); // 3
        Some(Self { x, y, z })
    }
}

fn add(sum: Option<Jacobian>, point: &Affine) -> Option<Jacobian> {
    match sum {
        Some(sum) => sum.add(point),
        None => Some(Jacobian::of(point)),
    }
}

/// The multiples 1, 3, 5, … of a point, and the same of its image under the endomorphism.
struct Table {
    multiples: Vec<Affine>,
    images: Vec<Field>,
}

impl Table {
    fn new(point: &Affine, window: usize) -> Self {
        let count = 1 << (window - 2);
        let double = affine(&[Jacobian::of(point).double()])[0];
        let mut multiples = Vec::with_capacity(count);
        let mut last = Jacobian::of(point);
        multiples.push(last);
        while multiples.len() < count {
            // The order is a large prime: no two of these multiples are opposite or equal.
            last = last.add(&double).expect("small multiples of a point are not infinite");
            multiples.push(last);
        }
        let multiples = affine(&multiples);
        let beta = field(BETA);
        let images = multiples.iter().map(|point| point.x.mul(&beta)).collect();
        Self { multiples, images }
    }

    /// `digit` is odd.
    fn get(&self, digit: i16, image: bool) -> Affine {
        let at = usize::from(digit.unsigned_abs() / 2);
        let Affine { x, y } = self.multiples[at];
        let x = if image { self.images[at] } else { x };
        Affine { x, y: if digit < 0 { y.negate(1).normalize_weak() } else { y } }
    }
}

/// With one inversion for all (Montgomery).
fn affine(points: &[Jacobian]) -> Vec<Affine> {
    let mut product = Field::ONE;
    let mut before = Vec::with_capacity(points.len());
    for point in points {
        before.push(product);
        product = product.mul(&point.z);
    }
    let mut inverse = inverse_of(product);
    let mut out = Vec::with_capacity(points.len());
    for (point, before) in points.iter().zip(before).rev() {
        let z = inverse.mul(&before);
        inverse = inverse.mul(&point.z);
        let z2 = z.square();
        out.push(Affine { x: point.x.mul(&z2), y: point.y.mul(&z2.mul(&z)) });
    }
    out.reverse();
    out
}

/// `by_generator · G + by_point · point`; `None` is the point at infinity.
fn sum_of_multiples(by_generator: U256, point: Affine, by_point: U256) -> Option<Jacobian> {
    static GENERATOR_TABLE: OnceLock<Table> = OnceLock::new();
    let of_generator = GENERATOR_TABLE.get_or_init(|| {
        let generator = Affine { x: field(GENERATOR.0), y: field(GENERATOR.1) };
        Table::new(&generator, GENERATOR_WINDOW)
    });
    let of_point = &Table::new(&point, POINT_WINDOW);
    let (g1, g2) = split(by_generator);
    let (p1, p2) = split(by_point);
    let lanes = [
        (of_generator, false, digits(g1, GENERATOR_WINDOW)),
        (of_generator, true, digits(g2, GENERATOR_WINDOW)),
        (of_point, false, digits(p1, POINT_WINDOW)),
        (of_point, true, digits(p2, POINT_WINDOW)),
    ];
    let mut sum: Option<Jacobian> = None;
    for at in (0..DIGITS).rev() {
        sum = sum.map(|sum| sum.double());
        for (table, image, digits) in &lanes {
            if digits[at] != 0 {
                sum = add(sum, &table.get(digits[at], *image));
            }
        }
    }
    sum
}

/// `k = a + b · λ` modulo the order, with λ the endomorphism's multiple and both below 2^128 in magnitude; negative where the
/// flag says so. The lattice is libsecp256k1's, the proof of the bounds stands there.
fn split(k: U256) -> ((bool, u128), (bool, u128)) {
    const G1: U256 = uint!(0x3086D221A7D46BCDE86C90E49284EB153DAA8A1471E8CA7FE893209A45DBB031_U256);
    const G2: U256 = uint!(0xE4437ED6010E88286F547FA90ABFE4C4221208AC9DF506C61571B4AE8AC47F71_U256);
    const A1: U256 = uint!(0x3086D221A7D46BCDE86C90E49284EB15_U256);
    const MINUS_B1: U256 = uint!(0xE4437ED6010E88286F547FA90ABFE4C3_U256);
    const A2: U256 = uint!(0x114CA50F7A8E2F3F657C1108D9D44CFD8_U256);
    let c1 = rounded_product(k, G1);
    let c2 = rounded_product(k, G2);
    let a = k.wrapping_sub(c1.wrapping_mul(A1)).wrapping_sub(c2.wrapping_mul(A2));
    // b2 = a1
    let b = c1.wrapping_mul(MINUS_B1).wrapping_sub(c2.wrapping_mul(A1));
    (signed(a), signed(b))
}

/// `a · b / 2^384`, to the nearest.
fn rounded_product(a: U256, b: U256) -> U256 {
    let product = a.widening_mul::<256, 4, 512, 8>(b);
    let limbs = product.as_limbs();
    let round = limbs[5] >> 63;
    U256::from_limbs([limbs[6], limbs[7], 0, 0]) + U256::from(round)
}

/// Of a two's complement number of small magnitude.
fn signed(number: U256) -> (bool, u128) {
    let negative = number.bit(255);
    let magnitude = if negative { number.wrapping_neg() } else { number };
    (negative, magnitude.wrapping_to())
}

/// Signed windows (wNAF): the number is the sum of `digits[i] · 2^i`; digits are odd or zero.
fn digits((negative, number): (bool, u128), window: usize) -> [i16; DIGITS] {
    let mut digits = [0; DIGITS];
    let (mut at, mut carry) = (0, 0);
    while at < DIGITS {
        let rest = if at < 128 { number >> at } else { 0 };
        if (rest & 1) as i16 == carry {
            at += 1;
            continue;
        }
        let width = window.min(DIGITS - at);
        let word = (rest & ((1 << width) - 1)) as i16 + carry;
        carry = word >> (width - 1) & 1;
        let digit = word - (carry << width);
        digits[at] = if negative { -digit } else { digit };
        at += width;
    }
    digits
}

#[cfg(all(feature = "host", target_arch = "x86_64"))]
mod lanes;

/// A signature r ‖ s, whether y is odd, and the hash that was signed.
#[cfg(feature = "host")]
pub type Signed = ([u8; 64], bool, B256);

/// What became of one of many signatures.
#[cfg(feature = "host")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Uncompressed, without its first byte.
    Key([u8; 64]),
    Invalid,
    /// To be recovered by itself.
    Left,
}

/// Recovers what the processor can recover several at once, in order.
#[cfg(feature = "host")]
pub fn recover_many(signed: &[Signed]) -> Vec<Recovered> {
    #[cfg(target_arch = "x86_64")]
    if lanes::available() {
        return lanes::recover_all(signed);
    }
    vec![Recovered::Left; signed.len()]
}

#[cfg(test)]
mod tests;
