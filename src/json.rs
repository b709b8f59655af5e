//! JSON as model files and configurations need it: small trees, read and written by plain code that browsers can afford.
//!
//! Numbers keep their text, in the form in which a parsed number would be printed again: `0.10` is read as `0.1`, and
//! `1.0` is not `1`. So trees can be compared and hashed without a loss.

use std::fmt::{self, Write};

/// How deep arrays and objects may lie in one another.
const DEPTH: usize = 100;

/// A value. Objects keep the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number by its text.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object: keys with values, each key once.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads a text that is one value.
    ///
    /// # Errors
    /// What is wrong, and at which byte.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.blanks();
        if reader.at < text.len() { Err(reader.wrong("the end")) } else { Ok(value) }
    }

    /// A number.
    pub fn number(value: f64) -> Self {
        Self::Number(number_text(value))
    }

    /// The value of `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The keys and values of an object.
    pub fn as_object(&self) -> Option<&[(String, Self)]> {
        if let Self::Object(entries) = self { Some(entries) } else { None }
    }

    /// The string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The elements of an array.
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(values) = self { Some(values) } else { None }
    }

    /// The number, if it is a whole one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(text) = self { text.parse().ok() } else { None }
    }

    /// The number.
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(text) = self { parse(text) } else { None }
    }

    /// The same with keys in alphabetical order.
    pub fn sorted(self) -> Self {
        match self {
            Self::List(values) => Self::List(values.into_iter().map(Self::sorted).collect()),
            Self::Object(entries) => {
                let mut entries: Vec<(String, Self)> =
                    entries.into_iter().map(|(key, value)| (key, value.sorted())).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Self::Object(entries)
            }
            other => other,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(true) => f.write_str("true"),
            Self::Bool(false) => f.write_str("false"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => write_text(f, text),
            Self::List(values) => {
                f.write_char('[')?;
                for (number, value) in values.iter().enumerate() {
                    if number > 0 {
                        f.write_char(',')?;
                    }
                    value.fmt(f)?;
                }
                f.write_char(']')
            }
            Self::Object(entries) => {
                f.write_char('{')?;
                for (number, (key, value)) in entries.iter().enumerate() {
                    if number > 0 {
                        f.write_char(',')?;
                    }
                    write_text(f, key)?;
                    f.write_char(':')?;
                    value.fmt(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            control if control < ' ' => write!(f, "\\u{:04x}", control as u32)?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

/// The shortest text that is read as this number again, `null` for what is none. Exponents are written below 10⁻⁵ and from
/// 10¹⁶ on.
fn number_text(value: f64) -> String {
    if !value.is_finite() {
        return "null".into();
    }
    let short = format!("{value:e}");
    let (mantissa, exponent) = short.split_once('e').expect("asked for");
    let exponent: i32 = exponent.parse().expect("a number");
    if !(-5..16).contains(&exponent) {
        return if exponent > 0 { short.replace('e', "e+") } else { short };
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    let digits = format!("{digits}{}", "0".repeat(whole.saturating_sub(digits.len())));
    let (whole, fraction) = digits.split_at(whole);
    format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
}

#[cfg(not(target_arch = "wasm32"))]
fn parse(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Browsers have this function already, and the tables of ours are 10 KB.
#[cfg(target_arch = "wasm32")]
fn parse(text: &str) -> Option<f64> {
    use wasm_bindgen::prelude::*;

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_name = Number)]
        fn number(text: &str) -> f64;
    }
    Some(number(text)).filter(|number| !number.is_nan())
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn wrong(&self, wanted: &str) -> String {
        format!("expected {wanted} at byte {}", self.at)
    }

    /// Passes over `byte`, if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let comes = self.peek() == byte && self.at < self.text.len();
        self.at += usize::from(comes);
        comes
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH {
            return Err(self.wrong("fewer brackets"));
        }
        self.blanks();
        match self.peek() {
            b'"' => Ok(Value::Text(self.string()?)),
            b'[' => self.list(depth),
            b'{' => self.object(depth),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
                {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.wrong("a value"))
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut values = Vec::new();
        self.blanks();
        if self.takes(b']') {
            return Ok(Value::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.blanks();
            if self.takes(b']') {
                return Ok(Value::List(values));
            }
            if !self.takes(b',') {
                return Err(self.wrong("a comma or ]"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut entries: Vec<(String, Value)> = Vec::new();
        self.blanks();
        if self.takes(b'}') {
            return Ok(Value::Object(entries));
        }
        loop {
            self.blanks();
            if self.peek() != b'"' {
                return Err(self.wrong("a key"));
            }
            let key = self.string()?;
            self.blanks();
            if !self.takes(b':') {
                return Err(self.wrong("a colon"));
            }
            entries.push((key, self.value(depth + 1)?));
            self.blanks();
            if self.takes(b'}') {
                return if repeats(&entries) { Err(self.wrong("each key once")) } else { Ok(Value::Object(entries)) };
            }
            if !self.takes(b',') {
                return Err(self.wrong("a comma or }"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        self.takes(b'-');
        if !self.takes(b'0') && self.digits() == 0 {
            return Err(self.wrong("a digit"));
        }
        let mut whole = true;
        if self.takes(b'.') {
            whole = false;
            if self.digits() == 0 {
                return Err(self.wrong("a digit"));
            }
        }
        if self.takes(b'e') || self.takes(b'E') {
            whole = false;
            if !self.takes(b'+') {
                self.takes(b'-');
            }
            if self.digits() == 0 {
                return Err(self.wrong("a digit"));
            }
        }
        let text = &self.text[start..self.at];
        if whole && text != "-0" && (text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok()) {
            return Ok(Value::Number(text.into()));
        }
        let value = parse(text).ok_or_else(|| self.wrong("a number"))?;
        if value.is_finite() { Ok(Value::number(value)) } else { Err(self.wrong("a smaller number")) }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), b'"' | b'\\' | 0..=0x1f) {
                self.at += 1;
            }
            text.push_str(&self.text[start..self.at]);
            if self.takes(b'"') {
                return Ok(text);
            }
            if !self.takes(b'\\') {
                return Err(self.wrong("the end of a string"));
            }
            let escape = self.peek();
            self.at += 1;
            text.push(match escape {
                b'"' | b'\\' | b'/' => escape as char,
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.escaped()?,
                _ => return Err(self.wrong("an escape")),
            });
        }
    }

    /// The character of an escape behind `\u`, of which it may take two.
    fn escaped(&mut self) -> Result<char, String> {
        let first = self.hex()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.takes(b'\\') && self.takes(b'u') {
            let second = self.hex()?;
            0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0xffff)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.wrong("a character"))
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.wrong("four hexadecimal digits"))
    }
}

/// Whether a key stands there twice.
fn repeats(entries: &[(String, Value)]) -> bool {
    let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(feature = "cli")]
impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw = serde_json::value::RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    /// What serde_json makes of the same text, keys sorted.
    fn reference(text: &str) -> Option<String> {
        serde_json::from_str::<serde_json::Value>(text).ok().map(|value| value.to_string())
    }

    #[test]
    fn numbers_are_printed_as_ever() {
        let mut numbers =
            vec![0.0, -0.0, 1.0, 0.1, 1e-4, 1.5e-5, 1e-5, 9.99e-6, 1e15, 1e16, 123456789.125, 5e-324, f64::MAX];
        for exponent in -30..30 {
            for mantissa in [1.0, 1.5, -2.25, 9.999, 1.0 / 3.0] {
                numbers.push(mantissa * 10f64.powi(exponent));
            }
        }
        for number in numbers.into_iter().filter(|number: &f64| number.is_finite()) {
            assert_eq!(number_text(number), serde_json::to_string(&number).unwrap());
        }
        assert_eq!(Value::number(f64::NAN).to_string(), "null");
    }

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            r#"{"a":[1,-2,0.5,1e300,true,false,null],"b":{"c":"x\"\\\n\u0001é😀"},"d":{},"e":[]}"#,
            " [ 1 , 2.50 , 0.10 , 1E5 , 18446744073709551615 , 18446744073709551616 , -0 ] ",
            r#""\u00e9\ud83d\ude00\/""#,
            "0",
        ] {
            let value = Value::parse(text).unwrap();
            assert_eq!(value.clone().sorted().to_string(), reference(text).unwrap());
            assert_eq!(Value::parse(&value.to_string()).unwrap(), value);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\ud83d\"",
            "\"\n\"",
            "1 2",
            "{a:1}",
            "1e400",
            "--1",
            "\"\\u12\"",
            "\u{0}",
            "[\u{0}]",
            &deep,
        ] {
            assert!(Value::parse(text).is_err(), "{text:?}");
            assert!(reference(text).is_none(), "{text:?}");
        }
        assert!(Value::parse("{\"a\":1,\"a\":2}").unwrap_err().contains("once"));
    }
}
