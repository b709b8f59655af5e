//! Scopes: which part of a computation a node belongs to, for reports on where time goes. They change nothing else: equal
//! nodes are one node whatever their scopes (that of the first counts), and plans are the same.
//!
//! A node inside a function has the scope it was given there, or else that of the call. What differentiation adds has the
//! part of the node that is differentiated.

use super::{Graph, NodeId};

/// Where a node belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// Whether it belongs to the backward pass of a training step.
    pub backward: bool,
    /// The name of a part that is to be told from the rest.
    pub part: Option<&'static str>,
}

impl Scope {
    /// Power iteration and the division by norms.
    pub const SPECTRAL_NORM: Self = Self::of("spectral norm");
    /// Log-determinants.
    pub const LOG_DET: Self = Self::of("log-det");
    /// Inputs of blocks recovered from their outputs.
    pub const INVERSION: Self = Self::of("inversion");
    /// The update of the parameters.
    pub const OPTIMIZER: Self = Self::of("optimizer");
    /// The backward pass.
    pub const BACKWARD: Self = Self { backward: true, part: None };

    const fn of(part: &'static str) -> Self {
        Self { backward: false, part: Some(part) }
    }

    /// This scope inside of another.
    #[must_use]
    pub fn within(self, outer: Self) -> Self {
        Self { backward: self.backward || outer.backward, part: self.part.or(outer.part) }
    }
}

impl std::fmt::Display for Scope {
    /// The phase's name: `forward`, `log-det`, `backward`, `log-det, backward`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.part, self.backward) {
            (None, false) => f.write_str("forward"),
            (None, true) => f.write_str("backward"),
            (Some(part), false) => f.write_str(part),
            (Some(part), true) => write!(f, "{part}, backward"),
        }
    }
}

/// Scopes of nodes. In browsers, where nothing is profiled, they are not kept.
impl Graph {
    /// The scope of a node.
    pub fn scope_of(&self, id: NodeId) -> Scope {
        self.scopes.get(id.index()).copied().unwrap_or_default()
    }

    /// Nodes that are added from now on are in `scope`. Gives the scope until now, to which the caller returns.
    pub fn enter(&mut self, scope: Scope) -> Scope {
        std::mem::replace(&mut self.scope, scope)
    }

    pub(super) fn note_scope(&mut self) {
        if cfg!(not(target_arch = "wasm32")) {
            self.scopes.push(self.scope);
        }
    }
}
