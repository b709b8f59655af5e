//! Text of plans and programs: what snapshots compare and messages show.

use std::fmt;

use super::program::{Binding, BufferKind, Command, Program};
use super::{Place, Plan, Step, ValueId};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {:?}", self.name)?;
        for (id, value) in self.values.iter().enumerate() {
            let place = match &value.place {
                Place::Argument(number) => format!("argument {number}"),
                Place::Scratch => "scratch".into(),
                Place::View { of, offset } => format!("v{of} from byte {offset}"),
                Place::Result => "result of a call".into(),
                Place::State => "state of an iteration".into(),
            };
            writeln!(f, "v{id}: {} {place}", value.shape)?;
        }
        let list = |values: &[ValueId]| values.iter().map(|id| format!(" v{id}")).collect::<String>();
        let used = |values: &[Option<ValueId>]| {
            values.iter().map(|id| id.map_or(" -".into(), |id| format!(" v{id}"))).collect::<String>()
        };
        for step in &self.steps {
            match step {
                Step::Kernel { kernel, inputs, outputs } => {
                    writeln!(f, "{:?}{} →{}", kernel.label, list(inputs), list(outputs))?;
                }
                Step::Stack { inputs, output } => writeln!(f, "stack{} → v{output}", list(inputs))?,
                Step::Call { plan, arguments, results } => {
                    writeln!(f, "call {:?}{} →{}", plan.name, list(arguments), used(results))?;
                }
                Step::Iterate { plan, limit, arguments, results } => {
                    let (arguments, results) = (list(arguments), used(results));
                    writeln!(f, "iterate {:?} at most {limit}{arguments} →{results}", plan.name)?;
                }
            }
        }
        writeln!(f, "results{}", list(&self.results))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {:?}", self.name)?;
        for (index, buffer) in self.buffers.iter().enumerate() {
            let kind = match &buffer.kind {
                BufferKind::Scratch => "scratch",
                BufferKind::External(_) => "external",
                BufferKind::Constant(_) => "constant",
            };
            writeln!(f, "buffer b{index}: {} bytes {kind} {:?}", buffer.bytes, buffer.label)?;
        }
        for (index, kernel) in self.kernels.iter().enumerate() {
            let variants: Vec<&str> = kernel.variants.iter().map(|variant| variant.name.as_str()).collect();
            writeln!(f, "kernel k{index}: {:?} [{}]", kernel.label, variants.join(", "))?;
        }
        write_commands(f, self, &self.commands, "")
    }
}

fn write_commands(f: &mut fmt::Formatter<'_>, program: &Program, commands: &[Command], indent: &str) -> fmt::Result {
    for command in commands {
        match command {
            Command::Dispatch { kernel, bindings, .. } => {
                let inputs = program.kernels[*kernel].inputs;
                write!(f, "{indent}k{kernel}")?;
                for binding in &bindings[..inputs] {
                    write!(f, " {}", text(binding))?;
                }
                write!(f, " →")?;
                for binding in &bindings[inputs..] {
                    write!(f, " {}", text(binding))?;
                }
                writeln!(f)?;
            }
            Command::Copy { from, to } => writeln!(f, "{indent}copy {} → {}", text(from), text(to))?,
            Command::Loop { body, limit, flag } => {
                writeln!(f, "{indent}loop at most {limit} while {} > 0", text(flag))?;
                write_commands(f, program, body, &format!("{indent}    "))?;
            }
        }
    }
    Ok(())
}

fn text(binding: &Binding) -> String {
    if binding.offset == 0 { format!("b{}", binding.buffer) } else { format!("b{}+{}", binding.buffer, binding.offset) }
}
