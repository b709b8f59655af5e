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
