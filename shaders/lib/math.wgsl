// Functions that WGSL lacks, or that drivers compute badly near zero or for large arguments.

// eˣ - 1. Near zero the series is used, because exp(x) - 1 would lose all digits: seven terms reach f32 precision for
// |x| < 0.5.
fn math_expm1(x: f32) -> f32 {
    let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666667
        + x * (0.0083333333 + x * (0.0013888889 + x * 0.00019841270))))));
    return select(exp(x) - 1.0, series, abs(x) < 0.5);
}

// ln(1 + x). With u = 1 + x rounded, ln(u) · x / (u - 1) cancels the rounding error of u (Kahan).
fn math_log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let d = u - 1.0;
    return select(log(u) * (x / select(d, 1.0, d == 0.0)), x, d == 0.0);
}

// 1 / (1 + e⁻ˣ), without overflow of the exponential.
fn math_sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// ln(1 + eˣ), without overflow of the exponential.
fn math_softplus(x: f32) -> f32 {
    return max(x, 0.0) + math_log1p(exp(-abs(x)));
}

// tanh x through eˣ - 1, exact near zero and free of overflow; some drivers give NaN for large arguments.
fn math_tanh(x: f32) -> f32 {
    let e = math_expm1(-2.0 * abs(x));
    return sign(x) * (-e / (e + 2.0));
}

// x less the nearest multiple q of π/2, in three steps so that the difference keeps its digits (Cody and Waite); the
// second component is q modulo 4.
fn math_quadrant(x: f32) -> vec2<f32> {
    let q = round(x * 0.63661977);
    let r = ((x - q * 1.5703125) - q * 4.837513e-4) - q * 7.54979e-8;
    return vec2<f32>(r, q - 4.0 * floor(q * 0.25));
}

// sin r in the quadrant's first component, and its neighbours by symmetry: polynomials for |r| ≤ π/4. The built-in
// functions may be off by 2⁻¹¹, and on some drivers are.
fn math_wave(r: f32, quadrant: f32) -> f32 {
    let s = r * r;
    let sine = r + r * s * (-0.16666655 + s * (8.332161e-3 - s * 1.951530e-4));
    let cosine = 1.0 - 0.5 * s + s * s * (0.041666646 + s * (-1.3887316e-3 + s * 2.4433157e-5));
    let odd = quadrant == 1.0 || quadrant == 3.0;
    let value = select(sine, cosine, odd);
    return select(value, -value, quadrant >= 2.0);
}

// sin x, for |x| up to some thousands.
fn math_sin(x: f32) -> f32 {
    let at = math_quadrant(x);
    return math_wave(at.x, at.y);
}

// cos x = sin(x + π/2), for |x| up to some thousands.
fn math_cos(x: f32) -> f32 {
    let at = math_quadrant(x);
    return math_wave(at.x, select(at.y + 1.0, 0.0, at.y == 3.0));
}

// 1 if x is a number, 0 if it is infinite or NaN: by its bits, as a compiler may take comparisons for decided.
fn math_is_finite(x: f32) -> f32 {
    return select(1.0, 0.0, (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u);
}
