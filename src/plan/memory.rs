//! Memory: buffers that are never alive together share a slot.
//!
//! A buffer is alive from the first command that touches it to the last. What a loop reads from before itself stays
//! alive until the loop ends. A slot is a buffer of its own and never cut into parts, because a device refuses a
//! dispatch that reads one part of a buffer and writes another.
//!
//! Which buffers should share is a problem without a quick best answer. Two simple orders are tried, and the one that
//! needs less is taken: by size, the largest first, into slots that never grow; and by birth, into slots that may.

use std::collections::BTreeMap;

use super::program::{Binding, Buffer, BufferKind, Command, Program};

/// A scratch buffer to be placed.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    /// Index among the program's buffers.
    buffer: usize,
    bytes: u64,
    /// First and last command that touches it.
    life: (usize, usize),
}

/// Where tenants live: the slot of each, in their order, and the size of each slot.
#[derive(Debug, Default)]
struct Housing {
    slots: Vec<usize>,
    sizes: Vec<u64>,
}

impl Housing {
    fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

/// Maps the scratch buffers of `program` to as few bytes of slots as found.
pub(super) fn assign(mut program: Program) -> Program {
    let lives = lives(&program);
    let mut tenants = Vec::new();
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut slot_of = vec![usize::MAX; program.buffers.len()];
    for (index, buffer) in program.buffers.iter().enumerate() {
        if buffer.kind != BufferKind::Scratch {
            slot_of[index] = buffers.len();
            buffers.push(buffer.clone());
        } else if let Some(life) = lives[index] {
            tenants.push(Tenant { buffer: index, bytes: buffer.bytes, life });
        }
    }
    tenants.sort_by_key(|tenant| tenant.life.0);
    let (by_birth, by_size) = (by_birth(&tenants), by_size(&tenants));
    let housing = if by_birth.bytes() <= by_size.bytes() { by_birth } else { by_size };
    let first = buffers.len();
    for (number, &bytes) in housing.sizes.iter().enumerate() {
        // Named for its largest tenant, which is what an error about its size is about.
        let inside = tenants.iter().zip(&housing.slots).filter(|&(_, &slot)| slot == number);
        let largest = inside.max_by_key(|(tenant, _)| (tenant.bytes, std::cmp::Reverse(tenant.life.0)));
        let label = largest.map_or("", |(tenant, _)| program.buffers[tenant.buffer].label.as_str());
        buffers.push(Buffer { label: format!("slot {number} ({label})"), bytes, kind: BufferKind::Scratch });
    }
    for (tenant, &slot) in tenants.iter().zip(&housing.slots) {
        slot_of[tenant.buffer] = first + slot;
    }
    remap(&mut program.commands, &slot_of);
    program.buffers = buffers;
    program
}

/// The scratch buffers of a program before [`assign`] that are alive together at the worst moment: no housing takes less
/// than their sum.
#[cfg(test)]
pub(super) fn crowd(program: &Program) -> Vec<&Buffer> {
    let lives = lives(program);
    let alive = |at: usize| {
        let inside = move |life: &Option<(usize, usize)>| life.is_some_and(|(from, to)| from <= at && at <= to);
        let pairs = program.buffers.iter().zip(&lives);
        pairs.filter(move |(buffer, life)| buffer.kind == BufferKind::Scratch && inside(life)).map(|(buffer, _)| buffer)
    };
    let births: std::collections::BTreeSet<usize> = lives.iter().flatten().map(|&(from, _)| from).collect();
    let worst = births.into_iter().max_by_key(|&at| alive(at).map(|buffer| buffer.bytes).sum::<u64>());
    worst.map_or(Vec::new(), |at| alive(at).collect())
}

/// Tenants in the order of their births: each takes the smallest free slot that is large enough, else the largest free
/// one, which grows, else a new one.
fn by_birth(tenants: &[Tenant]) -> Housing {
    let mut housing = Housing::default();
    // Slots in use with the position of their last command, and slots that are free.
    let mut busy: Vec<(usize, usize)> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    for tenant in tenants {
        busy.retain(|&(end, slot)| {
            let over = end < tenant.life.0;
            if over {
                free.push(slot);
            }
            !over
        });
        let sizes = &mut housing.sizes;
        let fitting = free.iter().copied().filter(|&slot| sizes[slot] >= tenant.bytes).min_by_key(|&slot| sizes[slot]);
        let slot = fitting.or_else(|| free.iter().copied().max_by_key(|&slot| sizes[slot]));
        let slot = slot.unwrap_or_else(|| {
            sizes.push(0);
            sizes.len() - 1
        });
        free.retain(|&other| other != slot);
        sizes[slot] = sizes[slot].max(tenant.bytes);
        busy.push((tenant.life.1, slot));
        housing.slots.push(slot);
    }
    housing
}

/// Tenants in the order of their sizes, the largest first: each takes the smallest slot that is free all its life, else a
/// new one of its size.
fn by_size(tenants: &[Tenant]) -> Housing {
    let mut order: Vec<usize> = (0..tenants.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(tenants[index].bytes));
    let mut housing = Housing { slots: vec![0; tenants.len()], sizes: Vec::new() };
    // Lives in each slot, by their beginnings.
    let mut taken: Vec<BTreeMap<usize, usize>> = Vec::new();
    for index in order {
        let Tenant { bytes, life: (from, to), .. } = tenants[index];
        let is_free =
            |lives: &BTreeMap<usize, usize>| lives.range(..=to).next_back().is_none_or(|(_, &end)| end < from);
        // Slots were made in the order of falling sizes, so the last that is free is the smallest.
        let slot = taken.iter().rposition(is_free).unwrap_or_else(|| {
            taken.push(BTreeMap::new());
            housing.sizes.push(bytes);
            taken.len() - 1
        });
        taken[slot].insert(from, to);
        housing.slots[index] = slot;
    }
    housing
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
