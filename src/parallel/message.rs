//! What processes tell each other, as bytes. All run the same program on the same model, so lengths need no names.

use super::mirror::Mirror;
use super::worker::Verdict;

/// Writes numbers one after the other.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn floats(&mut self, numbers: &[f32]) {
        self.number(numbers.len() as u64);
        numbers.iter().for_each(|number| self.0.extend_from_slice(&number.to_le_bytes()));
    }

    fn lists(&mut self, lists: &[Vec<f32>]) {
        self.number(lists.len() as u64);
        lists.iter().for_each(|list| self.floats(list));
    }
}

/// Reads them again.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> u64 {
        let (head, rest) = self.0.split_first_chunk().expect("a message as long as it was written");
        self.0 = rest;
        u64::from_le_bytes(*head)
    }

    fn floats(&mut self) -> Vec<f32> {
        let len = self.number() as usize;
        let (head, rest) = self.0.split_at(4 * len);
        self.0 = rest;
        head.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
    }

    fn lists(&mut self) -> Vec<Vec<f32>> {
        (0..self.number()).map(|_| self.floats()).collect()
    }
}

/// Lists of numbers, such as activations.
pub(super) fn of_lists(lists: &[Vec<f32>]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.lists(lists);
    writer.0
}

pub(super) fn lists(bytes: &[u8]) -> Vec<Vec<f32>> {
    Reader(bytes).lists()
}

/// What the others need to know of the head's verdict: all but the gradients in its own parameters.
pub(super) fn of_verdict(verdict: &Verdict) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.floats(&[verdict.loss, verdict.accuracy]);
    writer.lists(&verdict.activations);
    writer.0
}

pub(super) fn verdict(bytes: &[u8]) -> Verdict {
    let mut reader = Reader(bytes);
    let results = reader.floats();
    Verdict { loss: results[0], accuracy: results[1], activations: reader.lists(), ..Verdict::default() }
}

/// The numbers of a run, with how many steps were done and how many gradients of the last one were no numbers.
pub(super) fn of_mirror(mirror: &Mirror, step: u64, nonfinite: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(step);
    writer.number(nonfinite.into());
    writer.floats(&mirror.params);
    writer.floats(&mirror.state);
    writer.lists(&mirror.optimizer);
    writer.0
}

pub(super) fn mirror(bytes: &[u8]) -> (Mirror, u64, u32) {
    let mut reader = Reader(bytes);
    let (step, nonfinite) = (reader.number(), reader.number() as u32);
    (Mirror { params: reader.floats(), state: reader.floats(), optimizer: reader.lists() }, step, nonfinite)
}

/// Results of batches: each with its number and its columns, which all have the same names.
pub(super) fn of_columns(batches: &[(u32, Vec<Vec<f64>>)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(batches.len() as u64);
    for (number, columns) in batches {
        writer.number((*number).into());
        writer.number(columns.len() as u64);
        for column in columns {
            writer.number(column.len() as u64);
            column.iter().for_each(|value| writer.number(value.to_bits()));
        }
    }
    writer.0
}

pub(super) fn columns(bytes: &[u8]) -> Vec<(u32, Vec<Vec<f64>>)> {
    let mut reader = Reader(bytes);
    let batches = reader.number();
    (0..batches)
        .map(|_| {
            let (number, count) = (reader.number() as u32, reader.number());
            let mut column = || (0..reader.number()).map(|_| f64::from_bits(reader.number())).collect();
            (number, (0..count).map(|_| column()).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let given = vec![vec![1.0, -2.5], vec![], vec![f32::MAX]];
        assert_eq!(lists(&of_lists(&given)), given);
        let told = Mirror { params: vec![1.5, 2.0], state: vec![], optimizer: vec![vec![0.25], vec![-0.0]] };
        assert_eq!(mirror(&of_mirror(&told, 7, 3)), (told, 7, 3));
        let told = Verdict { loss: 0.5, accuracy: 0.75, activations: given, gradients: vec![1.0], state: vec![2.0] };
        let understood = verdict(&of_verdict(&told));
        assert_eq!((understood.loss, understood.accuracy, understood.gradients.len()), (0.5, 0.75, 0));
        assert_eq!(understood.activations, told.activations);
        let told = vec![(3, vec![vec![0.1, 0.2], vec![]]), (9, vec![])];
        assert_eq!(columns(&of_columns(&told)), told);
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let told = of_columns(&[(0, vec![vec![f64::NAN]])]);
        assert!(columns(&told)[0].1[0][0].is_nan());
    }
}
