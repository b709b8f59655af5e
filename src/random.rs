//! Random.
/// Key.
#[derive(Clone, Copy)]
pub struct Key;
impl Key {
    /// Words.
    pub fn from_words(_: [u32; 4]) -> Self {
        Self
    }
}
/// Distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// a
    Normal,
    /// b
    Uniform,
    /// c
    Rademacher,
}
impl Distribution {
    /// n
    pub fn name(self) -> &'static str {
        "x"
    }
    /// d
    pub fn draw(self, _: Key, _: u32) -> f64 {
        0.0
    }
}
