//! How a hand-written shader is set to work on one problem.

use super::program::Suits;
use crate::wgsl::wgsl;

/// One variant of a hand-written kernel for given extents. The plan joins it with its epilogue into a
/// [`Variant`](super::program::Variant).
///
/// The module begins with `enable f16;` where it is for [devices that know it](Suits::F16). Then come a `const NAME: u32 =
/// value;` for each constant, the texts of `files`, and a generated epilogue. The kernel file declares its inputs as
/// `var<storage, read>` at group 0, bindings 0 and 1, and hands every result to `emit(index, value)`, which the epilogue
/// defines: it applies the fused elementwise ops and stores. `index` is the flat index into the result, or counts fours of it,
/// with `value` a `vec4`: see `at_a_time`.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Short name of the variant.
    pub name: String,
    /// Texts of the WGSL files that make up the kernel, from `include_str!`.
    pub files: Vec<&'static str>,
    /// Constants of the module.
    pub constants: Vec<(&'static str, u32)>,
    /// How many neighbouring results it hands to `emit` at once: 1, or 4 where their number is a multiple of four.
    pub at_a_time: usize,
    /// Number of workgroups.
    pub groups: u32,
    /// Invocations in a workgroup.
    pub workgroup_size: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Which devices it is for. (Subgroups are for native devices: browsers would want `enable subgroups;`, which naga does
    /// not know yet.)
    pub suits: Suits,
}

impl Launch {
    /// The end of a module, with its binding 2 of group 0, that stores the results and does nothing else.
    pub fn plain_end(&self) -> &'static str {
        match self.at_a_time {
            4 => wgsl!("../../shaders/lib/plain_end_four.wgsl"),
            _ => wgsl!("../../shaders/lib/plain_end_one.wgsl"),
        }
    }

    /// The text of the module, with this end.
    pub fn module(&self, end: &str) -> String {
        let enable = if self.suits == Suits::F16 { "enable f16;\n" } else { "" };
        enable.to_owned() + &module(&self.constants, &self.files, end)
    }
}

/// A module of constants, files and an end.
pub(super) fn module(constants: &[(&str, u32)], files: &[&str], end: &str) -> String {
    let constants = constants.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n"));
    constants.chain(files.iter().map(|file| format!("{file}\n"))).collect::<String>() + end
}
