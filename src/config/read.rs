//! Strict reading: unknown keys and wrong types become errors that name the key and the cure.

use super::{Architecture, Config, Kind};
use crate::error::{Error, Result};
use crate::json::Value;
use crate::nearest::unknown;

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
        Self::default().overlaid(&tree(toml::Value::Table(table)), origin)
    }

    /// Reads JSON, as model files hold it; otherwise as `from_toml`.
    ///
    /// # Errors
    /// As `from_toml`.
    pub fn from_json(text: &str, origin: &str) -> Result<Self> {
        let value =
            Value::parse(text).map_err(|error| Error::Config(format!("{origin} is not valid JSON: {error}")))?;
        Self::default().overlaid(&value, origin)
    }

    /// The whole configuration as TOML, every key included.
    #[cfg(feature = "cli")]
    pub fn to_toml(&self) -> String {
        let section = |(name, section): (&str, &dyn super::Section)| {
            let lines = section.entries().into_iter().map(|(key, value)| format!("{key} = {}\n", toml_text(&value)));
            format!("[{name}]\n{}", lines.collect::<String>())
        };
        self.sections().map(section).join("\n")
    }

    /// The whole configuration as a tree.
    pub fn tree(&self) -> Value {
        let entries = |section: &dyn super::Section| {
            Value::Object(section.entries().into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        };
        Value::Object(self.sections().map(|(name, section)| (name.to_owned(), entries(section))).into())
    }

    /// The whole configuration as JSON on one line.
    pub fn to_json(&self) -> String {
        self.tree().to_string()
    }

    /// Reads a tree as model files hold it: what is not there keeps its default, whatever the rest says.
    ///
    /// # Errors
    /// Unknown keys and values of the wrong type.
    pub(crate) fn from_tree(tree: &Value) -> Result<Self> {
        let mut config = Self::default();
        config.set_all(tree, "configuration")?;
        Ok(config)
    }

    /// Sets the key `section.key` to `value`, written as in TOML; a bare word is taken as a string.
    ///
    /// # Errors
    /// Unknown keys and values of the wrong type.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some((section, name)) = key.split_once('.') else {
            return Err(Error::Config(format!("--set {key}: a key has the form section.key, such as train.epochs")));
        };
        let one = |key: &str, value| Value::Object(vec![(key.trim().to_owned(), value)]);
        *self = self.overlaid(&one(section, one(name, literal(value))), "--set")?;
        Ok(())
    }

    /// Replaces the keys of `overlay`.
    fn set_all(&mut self, overlay: &Value, origin: &str) -> Result<()> {
        let sections = overlay
            .as_object()
            .ok_or_else(|| Error::Config(format!("{origin}: expected sections such as [model], found {overlay}")))?;
        let names = self.sections().map(|(name, _)| name);
        for (name, keys) in sections {
            let Some(section) = self.section_mut(name) else {
                return Err(Error::Config(format!("{origin}: {}", unknown("section", name, names))));
            };
            let keys = keys
                .as_object()
                .ok_or_else(|| Error::Config(format!("{origin}: {name} must be a section [{name}], found {keys}")))?;
            for (key, value) in keys {
                match section.set(key, value) {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        return Err(Error::Config(format!("{origin}: {name}.{key} = {value}: {error}")));
                    }
                    None => {
                        let known = section.entries();
                        let known = known.iter().map(|(key, _)| *key);
                        let kind = format!("key in [{name}]:");
                        return Err(Error::Config(format!("{origin}: {}", unknown(&kind, key, known))));
                    }
                }
            }
        }
        Ok(())
    }

    /// This configuration with the keys of `overlay` replaced, and what follows from them.
    fn overlaid(&self, overlay: &Value, origin: &str) -> Result<Self> {
        let mut config = self.clone();
        config.set_all(overlay, origin)?;
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
    if let Ok(mut table) = format!("value = {text}").parse::<toml::Table>()
        && let Some(value) = table.remove("value")
    {
        return tree(value);
    }
    Value::parse(text).unwrap_or_else(|_| Value::Text(text.to_owned()))
}

#[cfg(feature = "cli")]
fn tree(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::Text(text),
        toml::Value::Integer(number) => Value::Number(number.to_string()),
        toml::Value::Float(number) => Value::number(number),
        toml::Value::Boolean(flag) => Value::Bool(flag),
        toml::Value::Datetime(time) => Value::Text(time.to_string()),
        toml::Value::Array(values) => Value::List(values.into_iter().map(tree).collect()),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, tree(value))).collect()),
    }
}

/// A value as TOML: a table stands on one line.
#[cfg(feature = "cli")]
fn toml_text(value: &Value) -> String {
    match value {
        Value::List(values) => format!("[{}]", values.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key} = {}", toml_text(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        // Strings of JSON are strings of TOML.
        other => other.to_string(),
    }
}

#[cfg(feature = "cli")]
impl serde::Serialize for Config {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.tree().serialize(to)
    }
}
