//! Texts of shaders. What is downloaded by browsers comes without comments and indentation.

/// The text of a file of `shaders/`.
macro_rules! wgsl {
    ($path:literal) => {{
        #[cfg(not(target_arch = "wasm32"))]
        {
            include_str!($path)
        }
        #[cfg(target_arch = "wasm32")]
        {
            const TEXT: &str = include_str!($path);
            const LEN: usize = $crate::wgsl::lean::<{ TEXT.len() }>(TEXT).1;
            const LEAN: [u8; LEN] = $crate::wgsl::cut($crate::wgsl::lean::<{ TEXT.len() }>(TEXT).0);
            match core::str::from_utf8(&LEAN) {
                Ok(text) => text,
                Err(_) => unreachable!(),
            }
        }
    }};
}

pub(crate) use wgsl;

/// The text without comments, indentation and empty lines, and its length.
#[cfg(any(test, target_arch = "wasm32"))]
pub(crate) const fn lean<const N: usize>(text: &str) -> ([u8; N], usize) {
    let text = text.as_bytes();
    let (mut lean, mut len) = ([0; N], 0);
    let (mut at, mut begins) = (0, true);
    while at < text.len() {
        let byte = text[at];
        if byte == b'/' && at + 1 < text.len() && text[at + 1] == b'/' {
            while at < text.len() && text[at] != b'\n' {
                at += 1;
            }
            continue;
        }
        at += 1;
        if begins && (byte == b' ' || byte == b'\n') {
            continue;
        }
        begins = byte == b'\n';
        lean[len] = byte;
        len += 1;
    }
    (lean, len)
}

/// The beginning of an array.
#[cfg(any(test, target_arch = "wasm32"))]
pub(crate) const fn cut<const N: usize, const M: usize>(whole: [u8; N]) -> [u8; M] {
    let mut cut = [0; M];
    let mut at = 0;
    while at < M {
        cut[at] = whole[at];
        at += 1;
    }
    cut
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_lost_but_what_nobody_reads() {
        const TEXT: &str = "// What it does.\n\nfn f() -> f32 {\n    // A half.\n    return 1.0 / 2.0; // exactly\n}\n";
        let (bytes, len) = super::lean::<{ TEXT.len() }>(TEXT);
        let lean = "fn f() -> f32 {\nreturn 1.0 / 2.0; \n}\n";
        assert_eq!(std::str::from_utf8(&bytes[..len]).unwrap(), lean);
        assert_eq!(super::cut::<5, 2>(*b"fn f("), *b"fn");
    }
}
