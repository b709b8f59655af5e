//! Text of a program: what snapshots compare and `--dry-run` prints.

use std::fmt;

use super::program::{Binding, BufferKind, Command, Program};

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
            Command::Dispatch { kernel, bindings } => {
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
