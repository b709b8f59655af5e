// Random numbers from a counter: Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
//
// The twin of src/random.rs, which says what the numbers are. A number is a function of its key (seed low, seed high,
// step, stream: whole numbers below 2^24) and its index; nothing is stored between calls.
//
// The logarithm, sine and cosine are computed here and not by the built-in functions: WGSL allows those an absolute error
// of 2^-11 for the sine, so that two devices would draw visibly different numbers.

// High 32 bits of the 64-bit product, from 16-bit halves: WGSL has no 64-bit integers.
fn random_mulhi(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a1 * b0 + ((a0 * b0) >> 16u);
    let middle = a0 * b1 + (low & 0xffffu);
    return a1 * b1 + (low >> 16u) + (middle >> 16u);
}

fn random_philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        let high0 = random_mulhi(0xd2511f53u, c.x);
        let high1 = random_mulhi(0xcd9e8d57u, c.z);
        c = vec4<u32>(high1 ^ c.y ^ k.x, 0xcd9e8d57u * c.z, high0 ^ c.w ^ k.y, 0xd2511f53u * c.x);
        k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

// The four words that elements 4 * block .. 4 * block + 3 are made of.
fn random_block(key: vec4<u32>, block: u32) -> vec4<u32> {
    return random_philox(vec4<u32>(block, key.w, key.z, 0u), key.xy);
}

// Natural logarithm of a normal number in (0, 1), to about 1e-7 relative: the number is 2^e * m with m in
// [sqrt(1/2), sqrt(2)), and ln m = 2 artanh((m - 1) / (m + 1)).
fn random_log(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    var e = f32(bits >> 23u) - 126.0;
    var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f000000u);
    if m < 0.70710678 {
        m = 2.0 * m;
        e -= 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let t = s * s;
    let series = 1.0 + t * (0.33333333 + t * (0.2 + t * (0.14285714 + t * 0.11111111)));
    return 0.69314718 * e + 2.0 * s * series;
}

// (cos, sin) of a whole turn times x, x in [0, 1): quarter turns are taken off exactly, the rest is a Taylor series.
fn random_turn(x: f32) -> vec2<f32> {
    let quarters = floor(4.0 * x + 0.5);
    let a = 6.2831853 * (x - 0.25 * quarters);
    let t = a * a;
    let s = a * (1.0 + t * (-0.16666667 + t * (0.0083333333 + t * (-0.00019841270 + t * 0.0000027557319))));
    let c = 1.0 + t * (-0.5 + t * (0.041666667 + t * (-0.0013888889 + t * (0.000024801587 - t * 0.00000027557319))));
    switch u32(quarters) & 3u {
        case 1u: { return vec2<f32>(-s, c); }
        case 2u: { return vec2<f32>(-c, -s); }
        case 3u: { return vec2<f32>(s, -c); }
        default: { return vec2<f32>(c, s); }
    }
}

// Two standard normal numbers from two words (Box and Muller).
fn random_pair(first: u32, second: u32) -> vec2<f32> {
    // 23 bits and a half: exact in f32, never 0, never 1.
    let u = (f32(first >> 9u) + 0.5) * 0x1p-23f;
    let radius = sqrt(max(-2.0 * random_log(u), 0.0));
    return radius * random_turn(f32(second >> 8u) * 0x1p-24f);
}

// Uniform on [0, 1): 24 bits.
fn random_uniform(key: vec4<u32>, index: u32) -> f32 {
    let words = random_block(key, index / 4u);
    return f32(words[index % 4u] >> 8u) * 0x1p-24f;
}

// Standard normal.
fn random_normal(key: vec4<u32>, index: u32) -> f32 {
    let words = random_block(key, index / 4u);
    let pair = select(words.xy, words.zw, index % 4u >= 2u);
    let both = random_pair(pair.x, pair.y);
    return select(both.x, both.y, index % 2u == 1u);
}

// -1 or 1, equally likely.
fn random_rademacher(key: vec4<u32>, index: u32) -> f32 {
    let words = random_block(key, index / 4u);
    return select(1.0, -1.0, (words[index % 4u] >> 31u) == 1u);
}
