//! Text of a graph, one node a line.

use std::fmt;

use super::Graph;
use crate::ops::Op;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.live();
        for (id, node) in self.nodes() {
            if !live[id.index()] && !matches!(node.op, Op::Input(_)) {
                continue;
            }
            write!(f, "%{} = {}", id.index(), node.op.label())?;
            if let Op::Input(number) = node.op {
                write!(f, " {:?}", self.inputs()[number].0)?;
            }
            for input in &node.inputs {
                write!(f, " %{}", input.index())?;
            }
            writeln!(f, " : {}", node.shape)?;
        }
        for (name, id) in self.outputs() {
            writeln!(f, "output {name:?} = %{}", id.index())?;
        }
        Ok(())
    }
}
