//! Strict reading: unknown keys and wrong types become errors that name the key and the cure.

use serde_json::{Map, Value};

use super::{Architecture, Config, Kind};
use crate::error::{Error, Result};
use crate::nearest::unknown;

/// `coefficient`: a number, or "none".
pub(super) mod coefficient {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(f64),
        Word(String),
    }

    #[expect(clippy::ref_option, reason = "serde's `with` calls it so")]
    pub(in crate::config) fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        value.map_or_else(|| Raw::Word("none".into()), Raw::Number).serialize(to)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        let wrong = || serde::de::Error::custom("expected a number between 0 and 1, or \"none\"");
        match Raw::deserialize(from).map_err(|_| wrong())? {
            Raw::Number(value) => Ok(Some(value)),
            Raw::Word(word) if word == "none" => Ok(None),
            Raw::Word(_) => Err(wrong()),
        }
    }
}

impl Config {
    /// Reads TOML; keys that are not there keep their defaults. `origin` names the text in errors, usually its path.
    ///
    /// # Errors
    /// Text that is not TOML, unknown keys, values of the wrong type. Values that do not fit together are found by
    /// [`validate`](Self::validate), which this does not call: settings may follow.
    #[cfg(feature = "cli")]
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let table: toml::Table =
            text.parse().map_err(|error| Error::Config(format!("{origin} is not valid TOML: {error}")))?;
        let value = serde_json::to_value(table).map_err(|error| Error::Config(format!("{origin}: {error}")))?;
        Self::default().overlaid(&value, origin)
    }

    /// Reads JSON, as model files hold it; otherwise as `from_toml`.
    ///
    /// # Errors
    /// As `from_toml`.
    pub fn from_json(text: &str, origin: &str) -> Result<Self> {
        let value = serde_json::from_str(text)
            .map_err(|error| Error::Config(format!("{origin} is not valid JSON: {error}")))?;
        Self::default().overlaid(&value, origin)
    }

    /// The whole configuration as TOML, every key included.
    #[cfg(feature = "cli")]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("the tree holds nothing that TOML cannot express")
    }

    /// The whole configuration as JSON on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("the tree holds nothing that JSON cannot express")
    }

    /// Sets the key `section.key` to `value`, written as in TOML; a bare word is taken as a string.
    ///
    /// # Errors
    /// Unknown keys and values of the wrong type.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some((section, name)) = key.split_once('.') else {
            return Err(Error::Config(format!("--set {key}: a key has the form section.key, such as train.epochs")));
        };
        let mut inner = Map::new();
        inner.insert(name.trim().to_owned(), literal(value));
        let mut outer = Map::new();
        outer.insert(section.trim().to_owned(), Value::Object(inner));
        *self = self.overlaid(&Value::Object(outer), "--set")?;
        Ok(())
    }

    /// This configuration with the keys of `overlay` replaced.
    fn overlaid(&self, overlay: &Value, origin: &str) -> Result<Self> {
        let mut tree = serde_json::to_value(self).expect("the tree holds nothing that JSON cannot express");
        let mut config = self.clone();
        let sections = overlay
            .as_object()
            .ok_or_else(|| Error::Config(format!("{origin}: expected sections such as [model], found {overlay}")))?;
        for (section, keys) in sections {
            let known = tree.as_object().expect("a struct").clone();
            let Some(known_keys) = known.get(section).and_then(Value::as_object) else {
                return Err(Error::Config(format!("{origin}: {}", unknown("section", section, known.keys()))));
            };
            let keys = keys.as_object().ok_or_else(|| {
                Error::Config(format!("{origin}: {section} must be a section [{section}], found {keys}"))
            })?;
            for (key, value) in keys {
                if !known_keys.contains_key(key) {
                    let kind = format!("key in [{section}]:");
                    return Err(Error::Config(format!("{origin}: {}", unknown(&kind, key, known_keys.keys()))));
                }
                // One key at a time, so that a value of the wrong type is reported with its key.
                tree[section][key] = value.clone();
                config = serde_json::from_value(tree.clone())
                    .map_err(|error| Error::Config(format!("{origin}: {section}.{key} = {value}: {error}")))?;
            }
        }
        let given = |key| overlay.get("model").and_then(|model| model.get(key)).is_some();
        let usual = Self::default().model;
        let model = &mut config.model;
        // Defaults are those of the published classifier.
        let unpadded = given("kind") && model.kind != Kind::Classifier
            || given("architecture") && model.architecture == Architecture::Glow
            || given("bottleneck") && model.bottleneck;
        if unpadded && !given("injective_padding") && model.injective_padding == usual.injective_padding {
            model.injective_padding = 0;
        }
        let constrained = model.architecture == Architecture::Iresnet;
        if given("architecture") && !constrained && !given("coefficient") && model.coefficient == usual.coefficient {
            model.coefficient = None;
        }
        if given("architecture") && model.architecture == Architecture::Resnet && !given("actnorm") {
            model.actnorm = false;
        }
        Ok(config)
    }
}

/// A value as a user types it behind `--set`.
fn literal(text: &str) -> Value {
    #[cfg(feature = "cli")]
    if let Ok(table) = format!("value = {text}").parse::<toml::Table>()
        && let Ok(value) = serde_json::to_value(&table["value"])
    {
        return value;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
