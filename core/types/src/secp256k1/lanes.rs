//! [`recover`](super::recover) of eight signatures at once, for processors with AVX-512 IFMA: one in each 64-bit part of
//! the vector registers.
//!
//! All eight take the same steps: halves of scalars are written in windows of fixed width, and a digit that is zero adds
//! nothing by a mask. Formulas are those of the parent module, and like there, nothing here is secret. What these
//! formulas do not cover (adding a point to itself or to its opposite) leaves z = 0, is seen at the end, and
//! left to the caller: signatures made for that cost what they cost without this module.

use super::{BETA, FIELD, Recovered, Signed, split};
use alloy_primitives::U256;
use core::arch::x86_64::*;
use k256::{
    ProjectivePoint, Scalar,
    elliptic_curve::{PrimeField, ops::Invert, ops::Reduce, sec1::ToEncodedPoint},
};
use std::sync::OnceLock;

/// Signatures that are recovered at once.
const LANES: usize = 8;
/// From this many on, a run of all lanes costs less than one after the other.
const WORTH: usize = 3;
const LIMB: u32 = 52;
const LOW: u64 = (1 << LIMB) - 1;
const TOP: u64 = (1 << 48) - 1;
/// 2^256 modulo the field's modulus.
const FOLD: u64 = 0x1_0000_03D1;
/// 2^260 modulo the same.
const FOLD_LIMBS: u64 = FOLD << 4;
/// 16 times the modulus in limbs, each of them more than eight tight limbs.
const BIAS: [u64; 5] = [0xF_FFFE_FFFF_FC2F << 4, LOW << 4, LOW << 4, LOW << 4, TOP << 4];

/// Width of the windows of the signature's point, and how many there are.
const POINT_WINDOW: u32 = 4;
const POINT_DIGITS: usize = 33;
const POINT_TABLE: usize = 8;
/// The same for the generator.
const GENERATOR_WINDOW: u32 = 8;
const GENERATOR_DIGITS: usize = 17;
const GENERATOR_TABLE: usize = 128;

/// Whether the processor has what this module is compiled for.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma")
}

/// Recovers what can be recovered in lanes, in order.
///
/// # Panics
///
/// Unless it is [`available`].
pub(super) fn recover_all(signed: &[Signed]) -> Vec<Recovered> {
    assert!(available(), "the caller asked");
    let mut out = vec![Recovered::Left; signed.len()];
    if signed.len() < WORTH {
        return out;
    }
    let mut inputs = Vec::with_capacity(signed.len());
    for (index, input) in signed.iter().enumerate() {
        match parse(input) {
            Some(input) => inputs.push((index, input)),
            None => out[index] = Recovered::Invalid,
        }
    }
    let inverses = inverses(inputs.iter().map(|(_, input)| input.r));
    for (group, inverses) in inputs.chunks(LANES).zip(inverses.chunks(LANES)) {
        if group.len() < WORTH {
            break;
        }
        // Lanes without a signature of their own repeat the last one.
        let at = |lane: usize| lane.min(group.len() - 1);
        let inputs = core::array::from_fn(|lane| &group[at(lane)].1);
        let inverses = core::array::from_fn(|lane| inverses[at(lane)]);
        // SAFETY: the processor has what `recover` is compiled for, as was asserted.
        #[allow(unsafe_code)]
        let found = unsafe { recover(inputs, inverses) };
        for ((index, _), found) in group.iter().zip(found) {
            out[*index] = found;
        }
    }
    out
}

struct Input {
    x: U256,
    odd_y: bool,
    r: Scalar,
    s: Scalar,
    z: Scalar,
}

fn parse((rs, odd_y, hash): &Signed) -> Option<Input> {
    let scalar = |bytes: &[u8]| -> Option<Scalar> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        let scalar = Option::<Scalar>::from(Scalar::from_repr(bytes.into()))?;
        (!bool::from(scalar.is_zero())).then_some(scalar)
    };
    let (r, s) = (scalar(&rs[..32])?, scalar(&rs[32..])?);
    let z = <Scalar as Reduce<k256::U256>>::reduce_bytes(&hash.0.into());
    Some(Input { x: U256::from_be_slice(&rs[..32]), odd_y: *odd_y, r, s, z })
}

/// Inverses of scalars that are not zero, by one inversion (Montgomery's trick).
fn inverses(scalars: impl Iterator<Item = Scalar> + Clone) -> Vec<Scalar> {
    let mut product = Scalar::ONE;
    let mut out: Vec<Scalar> = Vec::new();
    for scalar in scalars.clone() {
        out.push(product);
        product *= scalar;
    }
    let inverse = Option::<Scalar>::from(product.invert_vartime());
    let mut inverse = inverse.expect("a product of what is not zero is not zero");
    let scalars: Vec<Scalar> = scalars.collect();
    for (out, scalar) in out.iter_mut().zip(&scalars).rev() {
        *out *= inverse;
        inverse *= scalar;
    }
    out
}

/// Digits of the halves of both scalars by lane, the lowest first.
struct Digits {
    point: [[[i64; LANES]; POINT_DIGITS]; 2],
    generator: [[[i64; LANES]; GENERATOR_DIGITS]; 2],
}

impl Digits {
    fn new(inputs: &[&Input; LANES], inverses: &[Scalar; LANES]) -> Self {
        let mut out = Self {
            point: [[[0; LANES]; POINT_DIGITS]; 2],
            generator: [[[0; LANES]; GENERATOR_DIGITS]; 2],
        };
        for (lane, (input, inverse)) in inputs.iter().zip(inverses).enumerate() {
            let number = |scalar: Scalar| U256::from_be_slice(&scalar.to_bytes());
            let by_generator = split(number(-(input.z * inverse)));
            let by_point = split(number(input.s * inverse));
            for (half, number) in [by_generator.0, by_generator.1].into_iter().enumerate() {
                windows(number, GENERATOR_WINDOW, |at, d| out.generator[half][at][lane] = d);
            }
            for (half, number) in [by_point.0, by_point.1].into_iter().enumerate() {
                windows(number, POINT_WINDOW, |at, d| out.point[half][at][lane] = d);
            }
        }
        out
    }
}

/// Signed digits of a fixed width: the number is the sum of `digit · 2^(width · at)`, and no digit exceeds half the base.
fn windows((negative, number): (bool, u128), width: u32, mut put: impl FnMut(usize, i64)) {
    let (base, count) = (1_i64 << width, (128 / width) as usize);
    let mut carry = 0;
    for at in 0..count {
        let mut digit = (number >> (width * at as u32)) as i64 & (base - 1);
        digit += carry;
        carry = i64::from(digit > base / 2);
        digit -= carry * base;
        put(at, if negative { -digit } else { digit });
    }
    put(count, if negative { -carry } else { carry });
}

/// Eight field elements in limbs of 52 bits. *Tight* ones have limbs below 2^52, and the highest one hardly more than
/// 48 bits; only these may be multiplied. Sums and differences are loose until [`carry`].
#[derive(Clone, Copy)]
struct Field8([__m512i; 5]);

/// In Jacobian coordinates, tight.
#[derive(Clone, Copy)]
struct Point8 {
    x: Field8,
    y: Field8,
    z: Field8,
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn recover(inputs: [&Input; LANES], inverses: [Scalar; LANES]) -> [Recovered; LANES] {
    let x = load(core::array::from_fn(|lane| inputs[lane].x));
    let right = cube_plus_7(&x);
    let root = square_root(&right);
    let (is_square, roots) = (store(&square(&root)), store(&root));
    let rights = store(&right);
    let y = load(core::array::from_fn(|lane| {
        match roots[lane].bit(0) == inputs[lane].odd_y {
            true => roots[lane],
            // Zero is no root: no point of the curve has order two.
            false => FIELD - roots[lane],
        }
    }));
    let (sum, empty) = sum_of_multiples(&x, &y, &Digits::new(&inputs, &inverses));
    let inverse = invert(&sum.z);
    let inverse2 = square(&inverse);
    let xs = store(&mul(&sum.x, &inverse2));
    let ys = store(&mul(&sum.y, &mul(&inverse2, &inverse)));
    let zs = store(&sum.z);
    core::array::from_fn(|lane| {
        if is_square[lane] != rights[lane] {
            return Recovered::Invalid;
        }
        if zs[lane].is_zero() || empty >> lane & 1 == 1 {
            return Recovered::Left;
        }
        let mut key = [0; 64];
        key[..32].copy_from_slice(&xs[lane].to_be_bytes::<32>());
        key[32..].copy_from_slice(&ys[lane].to_be_bytes::<32>());
        Recovered::Key(key)
    })
}

/// The sum that recovers the keys, and the lanes in which it is infinite.
#[target_feature(enable = "avx512f,avx512ifma")]
fn sum_of_multiples(x: &Field8, y: &Field8, digits: &Digits) -> (Point8, __mmask8) {
    let (table, scale) = Table::new(x, y);
    let scale2 = square(&scale);
    let scale3 = mul(&scale2, &scale);
    let generator = generator_table();
    let mut sum = Sum { point: Point8 { x: *x, y: *y, z: one() }, empty: 0xff };
    for at in (0..POINT_DIGITS).rev() {
        if at + 1 < POINT_DIGITS {
            for _ in 0..POINT_WINDOW {
                sum.point = double(&sum.point);
            }
        }
        for half in 0..2 {
            let digit = Digit::new(&digits.point[half][at]);
            let (x, y) = table.get(&digit, half == 1);
            sum.add(&digit, &x, &y);
        }
        if at % 2 == 0 {
            for half in 0..2 {
                let digit = Digit::new(&digits.generator[half][at / 2]);
                let (x, y) = generator_multiple(generator, &digit, half == 1);
                // Where the table's points are affine, the generator is scaled.
                sum.add(&digit, &mul(&x, &scale2), &mul(&y, &scale3));
            }
        }
    }
    let Sum { point, empty } = sum;
    (Point8 { z: mul(&point.z, &scale), ..point }, empty)
}

/// One digit of each lane.
struct Digit {
    /// Its magnitude, less one.
    index: __m512i,
    negative: __mmask8,
    present: __mmask8,
}

impl Digit {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn new(digits: &[i64; LANES]) -> Self {
        let digit = words(core::array::from_fn(|lane| digits[lane] as u64));
        let index = _mm512_sub_epi64(_mm512_abs_epi64(digit), _mm512_set1_epi64(1));
        Self {
            index,
            negative: _mm512_cmplt_epi64_mask(digit, _mm512_setzero_si512()),
            present: _mm512_test_epi64_mask(digit, digit),
        }
    }
}

/// A sum that starts at infinity, which the coordinates cannot say.
struct Sum {
    point: Point8,
    empty: __mmask8,
}

impl Sum {
    /// Adds an affine point where the digit is not zero.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn add(&mut self, digit: &Digit, x: &Field8, y: &Field8) {
        let y = select(digit.negative, y, &negate(y));
        let (sum, _) = add(&self.point, x, &y);
        let put = |first: &Field8, sum: &Field8, old: &Field8| {
            select(digit.present, old, &select(self.empty, sum, first))
        };
        self.point = Point8 {
            x: put(x, &sum.x, &self.point.x),
            y: put(&y, &sum.y, &self.point.y),
            z: put(&one(), &sum.z, &self.point.z),
        };
        self.empty &= !digit.present;
    }
}

/// The first multiples of a point in each lane, with one common z that the caller takes for one.
struct Table {
    x: [Field8; POINT_TABLE],
    /// Of the images under the endomorphism.
    image_x: [Field8; POINT_TABLE],
    y: [Field8; POINT_TABLE],
}

impl Table {
    /// Also returns z.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(x: &Field8, y: &Field8) -> (Self, Field8) {
        let first = Point8 { x: *x, y: *y, z: one() };
        let second = double(&first);
        let mut points = [first; POINT_TABLE];
        // By what z grows from one to the next.
        let mut ratios = [second.z; POINT_TABLE];
        points[1] = second;
        for at in 2..POINT_TABLE {
            (points[at], ratios[at - 1]) = add(&points[at - 1], x, y);
        }
        let beta = load([BETA; LANES]);
        let scale = points[POINT_TABLE - 1].z;
        let mut table = Self {
            x: points.map(|point| point.x),
            image_x: [beta; POINT_TABLE],
            y: points.map(|point| point.y),
        };
        let mut factor = one();
        for at in (0..POINT_TABLE).rev() {
            if at + 1 < POINT_TABLE {
                factor = mul(&factor, &ratios[at]);
                let factor2 = square(&factor);
                table.x[at] = mul(&table.x[at], &factor2);
                table.y[at] = mul(&table.y[at], &mul(&factor2, &factor));
            }
            table.image_x[at] = mul(&table.x[at], &beta);
        }
        (table, scale)
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn get(&self, digit: &Digit, image: bool) -> (Field8, Field8) {
        let xs = if image { &self.image_x } else { &self.x };
        let (mut x, mut y) = (xs[0], self.y[0]);
        for (at, (entry_x, entry_y)) in (0..).zip(xs.iter().zip(&self.y)).skip(1) {
            let here = _mm512_cmpeq_epi64_mask(digit.index, _mm512_set1_epi64(at));
            x = select(here, &x, entry_x);
            y = select(here, &y, entry_y);
        }
        (x, y)
    }
}

/// Limbs of x, of the image's x and of y of a multiple of the generator, and a word that aligns them.
type Multiple = [u64; 16];

fn generator_table() -> &'static [Multiple; GENERATOR_TABLE] {
    static TABLE: OnceLock<Box<[Multiple; GENERATOR_TABLE]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Box::new([[0; 16]; GENERATOR_TABLE]);
        let mut multiple = ProjectivePoint::GENERATOR;
        for entry in table.iter_mut() {
            let point = multiple.to_affine().to_encoded_point(false);
            let number = |bytes: Option<&k256::FieldBytes>| {
                U256::from_be_slice(bytes.expect("small multiples of the generator are finite"))
            };
            let (x, y) = (number(point.x()), number(point.y()));
            entry[..5].copy_from_slice(&limbs(x));
            entry[5..10].copy_from_slice(&limbs(x.mul_mod(BETA, FIELD)));
            entry[10..15].copy_from_slice(&limbs(y));
            multiple += ProjectivePoint::GENERATOR;
        }
        table
    })
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn generator_multiple(
    table: &[Multiple; GENERATOR_TABLE],
    digit: &Digit,
    image: bool,
) -> (Field8, Field8) {
    // A digit of zero has index -1 and takes any entry.
    let index = _mm512_max_epi64(digit.index, _mm512_setzero_si512());
    let first = _mm512_slli_epi64::<4>(index);
    let column = |offset: usize| {
        let at = _mm512_add_epi64(first, _mm512_set1_epi64(offset as i64));
        // SAFETY: a digit is at most 128 in magnitude, so the entry is in the table, and the offset in the entry.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_i64gather_epi64::<8>(at, table.as_ptr().cast())
        }
    };
    let x = if image { 5 } else { 0 };
    (
        Field8(core::array::from_fn(|limb| column(x + limb))),
        Field8(core::array::from_fn(|limb| column(10 + limb))),
    )
}

/// No point of the curve has order two.
#[target_feature(enable = "avx512f,avx512ifma")]
fn double(point: &Point8) -> Point8 {
    let x2 = square(&point.x);
    let slope = carry(plus(&shifted::<1>(&x2), &x2)); // 3x²
    let y2 = square(&point.y);
    let s = mul(&point.x, &y2); // xy²
    let x = carry(minus(&square(&slope), &shifted::<3>(&s)));
    let inner = carry(minus(&shifted::<2>(&s), &x));
    let y4 = square(&y2);
    let y = carry(minus(&mul(&slope, &inner), &shifted::<3>(&y4)));
    let z = carry(shifted::<1>(&mul(&point.y, &point.z)));
    Point8 { x, y, z }
}

/// The sum with an affine point, and by what z grows: zero where the formula does not hold.
#[target_feature(enable = "avx512f,avx512ifma")]
fn add(point: &Point8, x: &Field8, y: &Field8) -> (Point8, Field8) {
    let z2 = square(&point.z);
    let h = carry(minus(&mul(x, &z2), &point.x));
    let i = carry(minus(&mul(&mul(y, &z2), &point.z), &point.y));
    let h2 = square(&h);
    let h3 = mul(&h2, &h);
    let t = mul(&point.x, &h2);
    let z = mul(&point.z, &h);
    let x = carry(minus(&square(&i), &plus(&shifted::<1>(&t), &h3)));
    let inner = carry(minus(&t, &x));
    let y = carry(minus(&mul(&inner, &i), &mul(&point.y, &h3)));
    (Point8 { x, y, z }, h)
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn cube_plus_7(x: &Field8) -> Field8 {
    let cube = mul(&square(x), x);
    carry(plus(&cube, &load([U256::from(7); LANES])))
}

/// `a^((p + 1) / 4)`: the root of a square. The chain is libsecp256k1's.
#[target_feature(enable = "avx512f,avx512ifma")]
fn square_root(a: &Field8) -> Field8 {
    let (x2, x22, x223) = powers(a);
    let t = mul(&squared(x223, 23), &x22);
    let t = mul(&squared(t, 6), &x2);
    squared(t, 2)
}

/// `a^(p - 2)`.
#[target_feature(enable = "avx512f,avx512ifma")]
fn invert(a: &Field8) -> Field8 {
    let (x2, x22, x223) = powers(a);
    let t = mul(&squared(x223, 23), &x22);
    let t = mul(&squared(t, 5), a);
    let t = mul(&squared(t, 3), &x2);
    mul(&squared(t, 2), a)
}

/// The powers with the exponents 2^2 - 1, 2^22 - 1 and 2^223 - 1.
#[target_feature(enable = "avx512f,avx512ifma")]
fn powers(a: &Field8) -> (Field8, Field8, Field8) {
    let x2 = mul(&square(a), a);
    let x3 = mul(&square(&x2), a);
    let x6 = mul(&squared(x3, 3), &x3);
    let x9 = mul(&squared(x6, 3), &x3);
    let x11 = mul(&squared(x9, 2), &x2);
    let x22 = mul(&squared(x11, 11), &x11);
    let x44 = mul(&squared(x22, 22), &x22);
    let x88 = mul(&squared(x44, 44), &x44);
    let x176 = mul(&squared(x88, 88), &x88);
    let x220 = mul(&squared(x176, 44), &x44);
    (x2, x22, mul(&squared(x220, 3), &x3))
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn squared(a: Field8, times: usize) -> Field8 {
    (0..times).fold(a, |a, _| square(&a))
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn mul(a: &Field8, b: &Field8) -> Field8 {
    let (a, b) = (&a.0, &b.0);
    let (mut low, mut high) = ([_mm512_setzero_si512(); 10], [_mm512_setzero_si512(); 10]);
    for i in 0..5 {
        for j in 0..5 {
            low[i + j] = _mm512_madd52lo_epu64(low[i + j], a[i], b[j]);
            high[i + j + 1] = _mm512_madd52hi_epu64(high[i + j + 1], a[i], b[j]);
        }
    }
    reduce(core::array::from_fn(|at| _mm512_add_epi64(low[at], high[at])))
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn square(a: &Field8) -> Field8 {
    let a = &a.0;
    let (mut low, mut high) = ([_mm512_setzero_si512(); 10], [_mm512_setzero_si512(); 10]);
    for i in 0..5 {
        for j in i + 1..5 {
            low[i + j] = _mm512_madd52lo_epu64(low[i + j], a[i], a[j]);
            high[i + j + 1] = _mm512_madd52hi_epu64(high[i + j + 1], a[i], a[j]);
        }
    }
    let mut sums: [__m512i; 10] =
        core::array::from_fn(|at| _mm512_slli_epi64::<1>(_mm512_add_epi64(low[at], high[at])));
    for i in 0..5 {
        sums[2 * i] = _mm512_madd52lo_epu64(sums[2 * i], a[i], a[i]);
        sums[2 * i + 1] = _mm512_madd52hi_epu64(sums[2 * i + 1], a[i], a[i]);
    }
    reduce(sums)
}

/// A product in ten limbs, each below 2^57 and all together below 2^514, modulo the field's modulus.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn reduce(mut c: [__m512i; 10]) -> Field8 {
    let low = _mm512_set1_epi64(LOW as i64);
    for at in 5..9 {
        c[at + 1] = _mm512_add_epi64(c[at + 1], _mm512_srli_epi64::<LIMB>(c[at]));
        c[at] = _mm512_and_si512(c[at], low);
    }
    // The highest limb has 46 bits now.
    let fold = _mm512_set1_epi64(FOLD_LIMBS as i64);
    let mut high = _mm512_setzero_si512();
    for at in 0..5 {
        c[at] = _mm512_madd52lo_epu64(c[at], c[at + 5], fold);
        let upper = if at < 4 { c[at + 1] } else { high };
        let upper = _mm512_madd52hi_epu64(upper, c[at + 5], fold);
        *(if at < 4 { &mut c[at + 1] } else { &mut high }) = upper;
    }
    // What lies above 2^256: at most 36 bits.
    let above = _mm512_add_epi64(_mm512_srli_epi64::<48>(c[4]), _mm512_slli_epi64::<4>(high));
    c[4] = _mm512_and_si512(c[4], _mm512_set1_epi64(TOP as i64));
    let fold = _mm512_set1_epi64(FOLD as i64);
    c[0] = _mm512_madd52lo_epu64(c[0], above, fold);
    c[1] = _mm512_madd52hi_epu64(c[1], above, fold);
    chain([c[0], c[1], c[2], c[3], c[4]])
}

/// Makes it tight. Limbs are below 2^58.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn carry(Field8(mut limbs): Field8) -> Field8 {
    let above = _mm512_srli_epi64::<48>(limbs[4]);
    limbs[4] = _mm512_and_si512(limbs[4], _mm512_set1_epi64(TOP as i64));
    let fold = _mm512_set1_epi64(FOLD as i64);
    limbs[0] = _mm512_madd52lo_epu64(limbs[0], above, fold);
    chain(limbs)
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn chain(mut limbs: [__m512i; 5]) -> Field8 {
    let low = _mm512_set1_epi64(LOW as i64);
    for at in 0..4 {
        limbs[at + 1] = _mm512_add_epi64(limbs[at + 1], _mm512_srli_epi64::<LIMB>(limbs[at]));
        limbs[at] = _mm512_and_si512(limbs[at], low);
    }
    Field8(limbs)
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn plus(a: &Field8, b: &Field8) -> Field8 {
    Field8(core::array::from_fn(|at| _mm512_add_epi64(a.0[at], b.0[at])))
}

/// `b` is at most eight tight ones.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn minus(a: &Field8, b: &Field8) -> Field8 {
    Field8(core::array::from_fn(|at| {
        let biased = _mm512_add_epi64(a.0[at], _mm512_set1_epi64(BIAS[at] as i64));
        _mm512_sub_epi64(biased, b.0[at])
    }))
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn negate(a: &Field8) -> Field8 {
    carry(minus(&Field8([_mm512_setzero_si512(); 5]), a))
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn shifted<const BITS: u32>(a: &Field8) -> Field8 {
    Field8(core::array::from_fn(|at| _mm512_slli_epi64::<BITS>(a.0[at])))
}

/// `b` in the lanes of the mask, else `a`.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn select(mask: __mmask8, a: &Field8, b: &Field8) -> Field8 {
    Field8(core::array::from_fn(|at| _mm512_mask_mov_epi64(a.0[at], mask, b.0[at])))
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn one() -> Field8 {
    let zero = _mm512_setzero_si512();
    Field8([_mm512_set1_epi64(1), zero, zero, zero, zero])
}

fn limbs(number: U256) -> [u64; 5] {
    let [a, b, c, d] = *number.as_limbs();
    [
        a & LOW,
        (a >> 52 | b << 12) & LOW,
        (b >> 40 | c << 24) & LOW,
        (c >> 28 | d << 36) & LOW,
        d >> 16,
    ]
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn load(numbers: [U256; LANES]) -> Field8 {
    let limbs = numbers.map(limbs);
    Field8(core::array::from_fn(|at| words(core::array::from_fn(|lane| limbs[lane][at]))))
}

/// What tight limbs stand for, below the modulus.
#[target_feature(enable = "avx512f,avx512ifma")]
fn store(tight: &Field8) -> [U256; LANES] {
    let limbs: [[u64; LANES]; 5] = tight.0.map(|limb| {
        // SAFETY: both are 64 bytes of which every pattern is valid.
        #[allow(unsafe_code)]
        unsafe {
            core::mem::transmute::<__m512i, [u64; LANES]>(limb)
        }
    });
    core::array::from_fn(|lane| {
        let [a, b, c, d, e] = limbs.map(|limb| limb[lane]);
        let number = U256::from_limbs([
            a | b << 52,
            b >> 12 | c << 40,
            c >> 24 | d << 28,
            d >> 36 | e << 16,
        ]);
        let (mut number, over) = number.overflowing_add(U256::from((e >> 48) * FOLD));
        if over {
            number += U256::from(FOLD);
        }
        if number >= FIELD { number - FIELD } else { number }
    })
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn words(words: [u64; LANES]) -> __m512i {
    let w = words.map(|word| word as i64);
    _mm512_set_epi64(w[7], w[6], w[5], w[4], w[3], w[2], w[1], w[0])
}
