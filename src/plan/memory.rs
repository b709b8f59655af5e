//! Memory: buffers that are never alive together share a slot.
//!
//! A buffer is alive from the first command that touches it to the last. What a loop reads from before itself stays
//! alive until the loop ends. A slot is a buffer of its own and never cut into parts, because a device refuses a
//! dispatch that reads one part of a buffer and writes another.

use super::program::{Binding, Buffer, BufferKind, Command, Program};

/// Maps the scratch buffers of `program` to as few slots as a sweep over its commands finds.
pub(super) fn assign(mut program: Program) -> Program {
    let lives = lives(&program);
    let mut births: Vec<usize> = (0..program.buffers.len()).filter(|&buffer| lives[buffer].is_some()).collect();
    births.sort_by_key(|&buffer| lives[buffer].map(|life| life.0));

    let mut buffers: Vec<Buffer> = Vec::new();
    let mut slot_of = vec![usize::MAX; program.buffers.len()];
    for (index, buffer) in program.buffers.iter().enumerate() {
        if buffer.kind != BufferKind::Scratch {
            slot_of[index] = buffers.len();
            buffers.push(buffer.clone());
        }
    }
    // Slots in use with the position of their last command, and slots that are free.
    let mut busy: Vec<(usize, usize)> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    for buffer in births {
        let (first, last) = lives[buffer].expect("only buffers that live are listed");
        if program.buffers[buffer].kind != BufferKind::Scratch {
            continue;
        }
        busy.retain(|&(end, slot)| {
            let over = end < first;
            if over {
                free.push(slot);
            }
            !over
        });
        let bytes = program.buffers[buffer].bytes;
        // The smallest that is large enough; else the largest is made larger.
        let fitting = free.iter().copied().filter(|&slot| buffers[slot].bytes >= bytes);
        let slot = fitting
            .min_by_key(|&slot| buffers[slot].bytes)
            .or_else(|| free.iter().copied().max_by_key(|&slot| buffers[slot].bytes));
        let slot = match slot {
            Some(slot) => {
                free.retain(|&other| other != slot);
                buffers[slot].bytes = buffers[slot].bytes.max(bytes);
                slot
            }
            None => {
                let label = format!("slot {} ({})", buffers.len(), program.buffers[buffer].label);
                buffers.push(Buffer { label, bytes, kind: BufferKind::Scratch });
                buffers.len() - 1
            }
        };
        slot_of[buffer] = slot;
        busy.push((last, slot));
    }
    remap(&mut program.commands, &slot_of);
    program.buffers = buffers;
    program
}

/// First and last command of each buffer, in the order of the flat list.
fn lives(program: &Program) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    let mut position = 0;
    visit(&program.commands, &mut position, &mut lives);
    lives
}

fn visit(commands: &[Command], position: &mut usize, lives: &mut [Option<(usize, usize)>]) {
    for command in commands {
        let at = *position;
        *position += 1;
        let mut touch = |binding: &Binding, at: usize| {
            let life = lives[binding.buffer].get_or_insert((at, at));
            *life = (life.0.min(at), life.1.max(at));
        };
        match command {
            Command::Dispatch { bindings, .. } => bindings.iter().for_each(|binding| touch(binding, at)),
            Command::Copy { from, to } => {
                touch(from, at);
                touch(to, at);
            }
            Command::Loop { body, flag, .. } => {
                let before: Vec<bool> = lives.iter().map(Option::is_some).collect();
                visit(body, position, lives);
                let end = *position;
                *position += 1;
                let mut inside = vec![false; lives.len()];
                mark(body, &mut inside);
                for (buffer, life) in lives.iter_mut().enumerate() {
                    if let Some(life) = life.as_mut().filter(|_| before[buffer] && inside[buffer]) {
                        life.1 = life.1.max(end);
                    }
                }
                let life = lives[flag.buffer].get_or_insert((at, at));
                *life = (life.0.min(at), life.1.max(end));
            }
        }
    }
}

fn mark(commands: &[Command], touched: &mut [bool]) {
    for command in commands {
        match command {
            Command::Dispatch { bindings, .. } => {
                for binding in bindings {
                    touched[binding.buffer] = true;
                }
            }
            Command::Copy { from, to } => {
                touched[from.buffer] = true;
                touched[to.buffer] = true;
            }
            Command::Loop { body, .. } => mark(body, touched),
        }
    }
}

fn remap(commands: &mut [Command], slot_of: &[usize]) {
    let move_to = |binding: &mut Binding| binding.buffer = slot_of[binding.buffer];
    for command in commands {
        match command {
            Command::Dispatch { bindings, .. } => bindings.iter_mut().for_each(move_to),
            Command::Copy { from, to } => {
                move_to(from);
                move_to(to);
            }
            Command::Loop { body, flag, .. } => {
                remap(body, slot_of);
                move_to(flag);
            }
        }
    }
}
