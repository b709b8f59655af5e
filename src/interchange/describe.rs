//! What a state dict says about its model by names and shapes alone, for messages about one that does not fit.

use std::collections::BTreeMap;

use crate::shape::Shape;

/// What names and shapes tell of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// Whether blocks are named `stack.S.stack.K`, as those of a density, or `stack.K`.
    nested: bool,
    /// Whether weights are normalised.
    normalised: bool,
    /// Whether there is an ActNorm.
    actnorm: bool,
    /// Number of blocks of each stage. Neighbouring stages of one shape count as one where names do not tell them apart.
    blocks: Vec<usize>,
    /// Channels inside the branches of each stage.
    channels: Vec<usize>,
    /// Channels that enter the first block.
    entering: Option<usize>,
    /// Elements of the first normalised layer's input: channels times pixels.
    pixels: Option<usize>,
    /// Number of classes.
    classes: Option<usize>,
}

/// Where a block's first layer stands: stage (0 where names have none), block, layer.
type Place = (usize, usize, usize);

impl Description {
    /// Describes tensors of these names and shapes.
    pub(super) fn of(shapes: &BTreeMap<String, Shape>) -> Self {
        let mut layers: BTreeMap<Place, &Shape> = BTreeMap::new();
        let mut nested = false;
        for (name, shape) in shapes {
            if let Some((place, in_stage)) = weight(name).filter(|_| shape.rank() >= 2) {
                layers.insert(place, shape);
                nested |= in_stage;
            }
        }
        let mut firsts: BTreeMap<(usize, usize), &Shape> = BTreeMap::new();
        for (&(stage, block, _), shape) in &layers {
            firsts.entry((stage, block)).or_insert(shape);
        }
        let (mut blocks, mut channels) = (Vec::new(), Vec::new());
        let mut last = None;
        for (&(stage, _), shape) in &firsts {
            let here = (stage, shape[0], shape[1]);
            if last == Some(here) {
                *blocks.last_mut().expect("a stage has begun") += 1;
            } else {
                blocks.push(1);
                channels.push(shape[0]);
            }
            last = Some(here);
        }
        let entering = firsts.values().next().map(|shape| shape[1]);
        let vectors = shapes.iter().find(|(name, _)| name.ends_with("bottleneck_block.0.weight_v"));
        Self {
            nested,
            normalised: shapes.keys().any(|name| name.ends_with(".weight_orig")),
            actnorm: shapes.keys().any(|name| name.contains(".actnorm.")),
            blocks,
            channels,
            entering,
            pixels: vectors.map(|(_, shape)| shape.len()),
            classes: shapes.get("logits.bias").map(Shape::len),
        }
    }

    /// What this says that `configured` does not, as settings.
    pub(super) fn differences(&self, configured: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, theirs: String, ours: String| {
            if theirs != ours {
                found.push(format!("{what} = {theirs} (the configuration says {ours})"));
            }
        };
        let kind = |nested| if nested { "\"density\"" } else { "\"classifier\"" }.to_string();
        compare("model.kind", kind(self.nested), kind(configured.nested));
        let coefficient = |normalised| if normalised { "a number" } else { "\"none\"" }.to_string();
        compare("model.coefficient", coefficient(self.normalised), coefficient(configured.normalised));
        compare("model.actnorm", self.actnorm.to_string(), configured.actnorm.to_string());
        compare("model.blocks", format!("{:?}", self.blocks), format!("{:?}", configured.blocks));
        compare("model.channels", format!("{:?}", self.channels), format!("{:?}", configured.channels));
        let number = |number: Option<usize>| number.map_or_else(|| "none".to_string(), |number| number.to_string());
        compare("channels that enter the first block", number(self.entering), number(configured.entering));
        if self.entering == configured.entering && self.pixels.is_some() && configured.pixels.is_some() {
            compare("numbers that enter the first block", number(self.pixels), number(configured.pixels));
        }
        // A density's head is not used, so that its classes do not matter.
        if !self.nested && self.classes.is_some() {
            compare("model.classes", number(self.classes), number(configured.classes));
        }
        found
    }
}

/// Stage, block and layer of a weight's name, and whether the name has a stage.
fn weight(name: &str) -> Option<(Place, bool)> {
    let path = name.strip_suffix(".weight_orig").or_else(|| name.strip_suffix(".weight"))?;
    let parts: Vec<&str> = path.split('.').collect();
    let number = |text: &str| text.parse().ok();
    match parts[..] {
        ["stack", block, "bottleneck_block", layer] => Some(((0, number(block)?, number(layer)?), false)),
        ["stack", stage, "stack", block, "bottleneck_block", layer] => {
            Some(((number(stage)?, number(block)?, number(layer)?), true))
        }
        _ => None,
    }
}
