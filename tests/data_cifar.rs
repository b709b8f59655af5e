//! CIFAR-10 and CIFAR-100: files in their official layout, plain and in the archive as distributed.
#![cfg(feature = "cli")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use iresnet::config::Config;
use iresnet::data::source::Source;
use iresnet::data::{Split, load_from, verify_in};

const PLANE: usize = 32 * 32;
const IMAGE: usize = 3 * PLANE;

/// A set's official layout.
struct Layout {
    name: &'static str,
    folder: &'static str,
    archive: &'static str,
    files: &'static [&'static str],
    label_bytes: usize,
    classes: usize,
}

const TEN: Layout = Layout {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    files: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
        "test_batch.bin",
    ],
    label_bytes: 1,
    classes: 10,
};

const HUNDRED: Layout = Layout {
    name: "cifar100",
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    files: &["train.bin", "test.bin"],
    label_bytes: 2,
    classes: 100,
};

impl Layout {
    /// `count` records for file number `file`: red is the file's number, green the record's, blue a ramp.
    fn records(&self, file: usize, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in 0..count {
            let class = (7 * file + 3 * record) % self.classes;
            if self.label_bytes == 2 {
                bytes.push((class / 5) as u8);
            }
            bytes.push(class as u8);
            bytes.extend([file as u8; PLANE]);
            bytes.extend([record as u8; PLANE]);
            bytes.extend((0..PLANE).map(|k| (k % 256) as u8));
        }
        bytes
    }

    fn contents(&self, count: usize) -> Vec<(String, Vec<u8>)> {
        let files = self.files.iter().enumerate();
        files.map(|(number, file)| (format!("{}/{file}", self.folder), self.records(number, count))).collect()
    }

    /// A root with the plain files.
    fn plain(&self, count: usize) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(self.name).join(self.folder);
        fs::create_dir_all(&folder).unwrap();
        for (path, content) in self.contents(count) {
            fs::write(root.path().join(self.name).join(path), content).unwrap();
        }
        (root, folder)
    }

    /// A root with an archive of `entries` only.
    fn archived(&self, entries: &[(String, Vec<u8>)]) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(self.name)).unwrap();
        let path = root.path().join(self.name).join(self.archive);
        fs::write(&path, tar_gz(entries)).unwrap();
        (root, path)
    }
}

/// A .tar.gz with these entries. Headers are written by hand where a path is one that a tar writer refuses.
fn tar_gz(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.append(&header, content.as_slice()).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn refused(root: &Path, layout: &Layout, split: Split, parts: &[&str]) {
    let error = load_from(&[root.to_owned()], layout.name, split).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error:?}");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn the_files_are_read_in_their_order_channel_by_channel() {
    for layout in [TEN, HUNDRED] {
        let (root, _) = layout.plain(3);
        let roots = [root.path().to_owned()];
        let train = load_from(&roots, layout.name, Split::Train).unwrap();
        let train_files = layout.files.len() - 1;
        assert_eq!((train.len(), train.shape(), train.classes()), (3 * train_files, [3, 32, 32], layout.classes));
        for index in 0..train.len() {
            let bytes = train.bytes(&[index as u32]).unwrap();
            let (file, record) = ((index / 3) as u8, (index % 3) as u8);
            assert_eq!([bytes[0], bytes[PLANE], bytes[2 * PLANE + 5]], [file, record, 5], "{} {index}", layout.name);
            assert_eq!(train.labels()[index] as usize, (7 * (index / 3) + 3 * (index % 3)) % layout.classes);
        }
        let test = load_from(&roots, layout.name, Split::Test).unwrap();
        assert_eq!((test.len(), test.bytes(&[2]).unwrap()[0] as usize), (3, train_files));
    }
}

#[test]
fn the_archive_as_distributed_is_the_same_whatever_its_order() {
    for layout in [TEN, HUNDRED] {
        let (plain, _) = layout.plain(2);
        let mut entries = layout.contents(2);
        entries.push((format!("{}/readme.html", layout.folder), b"<html>".to_vec()));
        entries.reverse();
        let (archived, path) = layout.archived(&entries);
        for split in [Split::Train, Split::Test] {
            let [a, b] =
                [&plain, &archived].map(|root| load_from(&[root.path().to_owned()], layout.name, split).unwrap());
            assert_eq!((a.elements(), a.labels()), (b.elements(), b.labels()), "{}", layout.name);
        }
        let there: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(there.len(), 1, "nothing was unpacked to disk");
    }
}

#[test]
fn files_directly_in_the_folder_of_the_set_are_found_too() {
    let (root, folder) = HUNDRED.plain(2);
    for file in HUNDRED.files {
        fs::rename(folder.join(file), folder.parent().unwrap().join(file)).unwrap();
    }
    assert_eq!(load_from(&[root.path().to_owned()], "cifar100", Split::Train).unwrap().len(), 2);
}

#[test]
fn coarse_labels_are_there_for_the_asking() {
    let (root, _) = HUNDRED.plain(5);
    let set = load_from(&[root.path().to_owned()], "cifar100", Split::Train).unwrap();
    let coarse = set.coarse().unwrap();
    assert_eq!((coarse.classes(), coarse.elements()), (20, set.elements()));
    let expected: Vec<u32> = set.labels().iter().map(|label| label / 5).collect();
    assert_eq!(coarse.labels(), expected);
    assert_eq!(set.limit(2).coarse().unwrap().labels(), &expected[..2]);
    let (root, _) = TEN.plain(1);
    assert!(load_from(&[root.path().to_owned()], "cifar10", Split::Train).unwrap().coarse().is_none());
}

#[test]
fn entries_that_lead_elsewhere_are_not_the_files() {
    let mut entries = HUNDRED.contents(1);
    let honest = entries.clone();
    for place in
        ["../train.bin", "/train.bin", "cifar-100-binary/../train.bin", "other/train.bin", "../../etc/train.bin"]
    {
        entries[0].0 = place.to_owned();
        let (root, _) = HUNDRED.archived(&entries);
        refused(root.path(), &HUNDRED, Split::Train, &["cifar-100-binary.tar.gz", "has no file", "train.bin"]);
        // Beside the right files they change nothing.
        let (root, path) = HUNDRED.archived(&[&honest[..], &[(place.to_owned(), b"evil".to_vec())]].concat());
        assert_eq!(load_from(&[root.path().to_owned()], "cifar100", Split::Train).unwrap().len(), 1, "{place}");
        let there: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(there.len(), 1, "nothing was unpacked to disk");
    }
    let (root, _) = HUNDRED.archived(&[&honest[..], &honest[..1]].concat());
    refused(root.path(), &HUNDRED, Split::Train, &["train.bin twice"]);
}

#[test]
fn damaged_archives_are_data_errors() {
    let (root, path) = HUNDRED.archived(&HUNDRED.contents(1));
    let whole = fs::read(&path).unwrap();
    for part in [0, 1, 2, 3, 5, 8] {
        fs::write(&path, &whole[..whole.len() * part / 10]).unwrap();
        refused(root.path(), &HUNDRED, Split::Test, &["cifar-100-binary.tar.gz", "get it again"]);
    }
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    fs::write(&path, flipped).unwrap();
    assert_eq!(load_from(&[root.path().to_owned()], "cifar100", Split::Test).unwrap_err().exit_code(), 3);
    fs::write(&path, gzip(b"no archive at all")).unwrap();
    refused(root.path(), &HUNDRED, Split::Test, &["cifar-100-binary.tar.gz"]);
    fs::write(&path, "<!DOCTYPE html><title>404</title>").unwrap();
    refused(root.path(), &HUNDRED, Split::Test, &["cifar-100-binary.tar.gz"]);
}

#[test]
fn damaged_files_name_the_file_and_the_record() {
    let (root, folder) = TEN.plain(3);
    let path = folder.join("data_batch_3.bin");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    refused(root.path(), &TEN, Split::Train, &["data_batch_3.bin", "3073", "truncated"]);
    let mut wrong = whole.clone();
    wrong[2 * (1 + IMAGE)] = 10;
    fs::write(&path, wrong).unwrap();
    refused(root.path(), &TEN, Split::Train, &["data_batch_3.bin", "label 10 of image 2"]);
    fs::remove_file(&path).unwrap();
    refused(root.path(), &TEN, Split::Train, &["data_batch_3.bin", "missing", "data fetch cifar10", TEN.archive]);
    assert_eq!(
        load_from(&[root.path().to_owned()], "cifar10", Split::Test).unwrap().len(),
        3,
        "the test file is whole"
    );
}

#[test]
fn a_set_that_is_not_the_official_one_fails_verification() {
    for (layout, part) in [(TEN, "MD5"), (HUNDRED, "50000")] {
        let (root, _) = layout.plain(2);
        let error = verify_in(&[root.path().to_owned()], layout.name).unwrap_err();
        assert_eq!(error.exit_code(), 9, "{error:?}");
        assert!(error.to_string().contains(layout.files[0]) && error.to_string().contains(part), "{error}");
        let (root, _) = layout.archived(&layout.contents(2));
        let error = verify_in(&[root.path().to_owned()], layout.name).unwrap_err();
        assert_eq!(error.exit_code(), 9, "{error:?}");
        assert!(error.to_string().contains(layout.archive), "{error}");
    }
}

#[test]
fn a_source_of_coarse_labels_needs_a_set_that_has_them() {
    let mut config = Config::default();
    config.data.coarse = true;
    config.data.name = "fashion-mnist-mini".into();
    let error = Source::open(&config, None, Split::Train).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("data.coarse") && error.to_string().contains("cifar100"), "{error}");
}
