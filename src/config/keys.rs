//! How the keys of a configuration are read and written: one list of keys for each section, one way for each type.

use crate::json::Value;
use crate::nearest::unknown;

/// A type of values of keys.
pub(crate) trait Key: Sized {
    /// As it is written.
    fn value(&self) -> Value;

    /// Reads a value.
    ///
    /// # Errors
    /// What was expected.
    fn read(value: &Value) -> Result<Self, String>;
}

/// A section of a configuration, or a table in it.
pub(crate) trait Section {
    /// Keys with their values, in order.
    fn entries(&self) -> Vec<(&'static str, Value)>;

    /// Sets a key; `None` if there is none such.
    fn set(&mut self, key: &str, value: &Value) -> Option<Result<(), String>>;
}

/// Lists the keys of a section, which are the fields of its struct.
macro_rules! section {
    ($section:ty: $($key:ident)*) => {
        impl $crate::config::keys::Section for $section {
            fn entries(&self) -> Vec<(&'static str, $crate::json::Value)> {
                vec![$((stringify!($key), $crate::config::keys::Key::value(&self.$key))),*]
            }

            fn set(&mut self, key: &str, value: &$crate::json::Value) -> Option<Result<(), String>> {
                Some(match key {
                    $(stringify!($key) => {
                        $crate::config::keys::Key::read(value).map(|value| self.$key = value)
                    })*
                    _ => return None,
                })
            }
        }
    };
}

/// Gives the values of an enum their words.
macro_rules! words {
    ($kind:ident: $($name:ident $word:literal)*) => {
        impl $kind {
            /// The word for it in configurations.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word),*
                }
            }
        }

        impl $crate::config::keys::Key for $kind {
            fn value(&self) -> $crate::json::Value {
                $crate::json::Value::Text(self.word().into())
            }

            fn read(value: &$crate::json::Value) -> Result<Self, String> {
                const ALL: &[$kind] = &[$($kind::$name),*];
                $crate::config::keys::find(value, &[$($word),*]).map(|index| ALL[index])
            }
        }

        #[cfg(feature = "cli")]
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.word())
            }
        }
    };
}

pub(crate) use {section, words};

/// Which of the words it is.
pub(crate) fn find(value: &Value, words: &[&str]) -> Result<usize, String> {
    let Some(word) = value.as_str() else { return Err(expected(&format!("one of the words {}", words.join(", ")))) };
    words.iter().position(|known| *known == word).ok_or_else(|| unknown("word", word, words.iter().copied()))
}

fn expected(what: &str) -> String {
    format!("expected {what}")
}

impl Key for bool {
    fn value(&self) -> Value {
        Value::Bool(*self)
    }

    fn read(value: &Value) -> Result<Self, String> {
        if let Value::Bool(flag) = value { Ok(*flag) } else { Err(expected("true or false")) }
    }
}

impl Key for u64 {
    fn value(&self) -> Value {
        Value::Number(self.to_string())
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_u64().ok_or_else(|| expected("a whole number, not negative"))
    }
}

impl Key for usize {
    fn value(&self) -> Value {
        (*self as u64).value()
    }

    fn read(value: &Value) -> Result<Self, String> {
        u64::read(value)?.try_into().map_err(|_| expected("a smaller number"))
    }
}

impl Key for u32 {
    fn value(&self) -> Value {
        u64::from(*self).value()
    }

    fn read(value: &Value) -> Result<Self, String> {
        u64::read(value)?.try_into().map_err(|_| expected("a number below 2^32"))
    }
}

impl Key for f64 {
    fn value(&self) -> Value {
        Value::number(*self)
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_f64().ok_or_else(|| expected("a number"))
    }
}

/// A number, or "none".
impl Key for Option<f64> {
    fn value(&self) -> Value {
        self.map_or_else(|| Value::Text("none".into()), Value::number)
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_f64() {
            None if value.as_str() == Some("none") => Ok(None),
            None => Err(expected("a number between 0 and 1, or \"none\"")),
            number => Ok(number),
        }
    }
}

impl Key for String {
    fn value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(Self::from).ok_or_else(|| expected("a string"))
    }
}

impl<K: Key> Key for Vec<K> {
    fn value(&self) -> Value {
        Value::List(self.iter().map(Key::value).collect())
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_list().ok_or_else(|| expected("a list"))?.iter().map(K::read).collect()
    }
}

impl Key for [f64; 2] {
    fn value(&self) -> Value {
        self.to_vec().value()
    }

    fn read(value: &Value) -> Result<Self, String> {
        Vec::read(value)?.try_into().map_err(|_| expected("two numbers"))
    }
}
