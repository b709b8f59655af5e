//! Results as early as they can be had.
//!
//! A derivative ends with what the forward pass began with, and copies to named tensors come last of all: the gradients of a
//! network's normalised weights would be final at its very end, though what they are made of is known long before. Here
//! commands for which nothing waits but a single such result move up behind the last one that they need. What several
//! results wait for, such as the way back through the network, stays. This is done before buffers share memory, so that no
//! other tenant of a slot stands in the way.

use std::collections::HashMap;

use super::program::{Binding, BufferKind, Command, Program};

/// Moves up what leads to single results in the external buffer `name`. Every command still reads what it read before, and no
/// named tensor is read sooner than it was: it may be given late.
pub(super) fn bring(mut program: Program, name: &str) -> Program {
    let moves = serve_one(&program, name);
    let places = places(&program, &moves);
    let mut order: Vec<usize> = (0..places.len()).collect();
    // What stays comes before what has moved up behind it; the sort keeps the order of the latter.
    order.sort_by_key(|&index| (places[index], moves[index]));
    program.commands = order.into_iter().map(|index| program.commands[index].clone()).collect();
    program
}

/// The command behind which each command comes, itself where it stays.
fn places(program: &Program, moves: &[bool]) -> Vec<usize> {
    // Results: behind the last command before that touches the same memory, if either writes it.
    let mut touched = Touched::new(program);
    let mut first_read: HashMap<usize, usize> = HashMap::new();
    let mut places: Vec<usize> = Vec::with_capacity(moves.len());
    for (index, command) in program.commands.iter().enumerate() {
        let named = program.reads(command).into_iter().map(|range| range.buffer);
        let named = named.filter(|&buffer| matches!(program.buffers[buffer].kind, BufferKind::External(_)));
        let given = named.map(|buffer| *first_read.entry(buffer).or_insert(index));
        let earliest = touched.by(program, command).chain(given).max().unwrap_or(0);
        places.push(if moves[index] { earliest } else { index });
        touched.note(program, command, places[index]);
    }
    // What leads to them: no sooner than they need it, as it would only lie in memory.
    let mut touched = Touched::new(program);
    for (index, command) in program.commands.iter().enumerate().rev().filter(|&(index, _)| moves[index]) {
        if let Some(needed) = touched.by(program, command).min() {
            places[index] = needed.min(index);
        }
        touched.note(program, command, places[index]);
    }
    places
}

/// What commands have touched: for each buffer, ranges that were read and written, with the places of the commands.
struct Touched {
    read: Vec<Vec<(Binding, usize)>>,
    written: Vec<Vec<(Binding, usize)>>,
}

impl Touched {
    fn new(program: &Program) -> Self {
        let nothing = vec![Vec::new(); program.buffers.len()];
        Self { read: nothing.clone(), written: nothing }
    }

    fn note(&mut self, program: &Program, command: &Command, place: usize) {
        program.reads(command).into_iter().for_each(|range| self.read[range.buffer].push((range, place)));
        program.writes(command).into_iter().for_each(|range| self.written[range.buffer].push((range, place)));
    }

    /// Places of commands that must keep their order with this one.
    fn by(&self, program: &Program, command: &Command) -> impl Iterator<Item = usize> {
        let (reads, writes) = (program.reads(command), program.writes(command));
        let shared = |ranges: &[Binding], touched: &[Vec<(Binding, usize)>]| -> Vec<usize> {
            let places = ranges.iter().flat_map(|range| {
                touched[range.buffer].iter().filter(|(other, _)| other.overlaps(range)).map(|&(_, place)| place)
            });
            places.collect()
        };
        let written = shared(&reads, &self.written).into_iter().chain(shared(&writes, &self.written));
        written.chain(shared(&writes, &self.read))
    }
}

/// What waits for a command.
#[derive(Clone, Copy, PartialEq)]
enum Serves {
    Nothing,
    /// The command that brings this result.
    One(usize),
    Others,
}

impl Serves {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (one, same) if one == same => one,
            _ => Self::Others,
        }
    }
}

/// For each command, whether nothing waits for it but one that writes to the external buffer `name`, or it is that. Loops stay
/// where they are.
pub(super) fn serve_one(program: &Program, name: &str) -> Vec<bool> {
    let mut buffers = vec![Serves::Nothing; program.buffers.len()];
    let mut serve = vec![false; program.commands.len()];
    // From the back, so that all readers are known before what they read.
    for (index, command) in program.commands.iter().enumerate().rev() {
        let written = program.writes(command).into_iter().map(|range| match &program.buffers[range.buffer].kind {
            BufferKind::External(other) if other == name => Serves::One(index),
            BufferKind::External(_) => Serves::Others,
            _ => buffers[range.buffer],
        });
        let serves = if matches!(command, Command::Loop { .. }) {
            Serves::Others
        } else {
            written.fold(Serves::Nothing, Serves::and)
        };
        serve[index] = matches!(serves, Serves::One(_));
        for range in program.reads(command) {
            buffers[range.buffer] = buffers[range.buffer].and(serves);
        }
    }
    serve
}
