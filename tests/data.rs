//! What the data layer promises, seen from outside: what is built in, what is read and what is refused, and that a batch
//! is a function of seed and step.
#![cfg(feature = "cli")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use iresnet::data::{
    Augment, Batches, Padding, Prepare, Split, catalogue, eval_batches, idx, indices, load, load_from, verify,
    verify_in,
};
use iresnet::error::Error;

const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const PIXELS: usize = 28 * 28;

/// A folder of sets with a tiny "mnist" in it: `count` images in each split.
fn tiny_mnist(count: usize) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("mnist");
    fs::create_dir(&folder).unwrap();
    let pixels: Vec<u8> = (0..count * PIXELS).map(|k| (k % 251) as u8).collect();
    let labels: Vec<u8> = (0..count).map(|k| (k % 10) as u8).collect();
    for pair in FILES.chunks(2) {
        fs::write(folder.join(pair[0]), idx::encode(&[count, 28, 28], &pixels)).unwrap();
        fs::write(folder.join(pair[1]), idx::encode(&[count], &labels)).unwrap();
    }
    (root, folder)
}

fn gzip(path: &Path) {
    let file = fs::File::create(path.with_extension("gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(path).unwrap();
}

/// Loading the training split must fail as a data error (exit code 3) that says each of `parts`.
#[track_caller]
fn refused(root: &Path, parts: &[&str]) {
    let error = load_from(&[root.to_owned()], "mnist", Split::Train).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error:?}");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn the_built_in_part_has_as_many_images_of_each_class() {
    for (split, per_class) in [(Split::Train, 200), (Split::Test, 50)] {
        let set = load_from(&[], "fashion-mnist-mini", split).unwrap();
        assert_eq!((set.len(), set.shape(), set.classes()), (10 * per_class, [1, 28, 28], 10));
        for class in 0..10 {
            assert_eq!(set.labels().iter().filter(|&&label| label == class).count(), per_class, "class {class}");
        }
    }
}

#[test]
fn the_built_in_part_is_real_images() {
    let train = load_from(&[], "fashion-mnist-mini", Split::Train).unwrap();
    // The official training set begins with an ankle boot, two T-shirts, a dress, a T-shirt.
    assert_eq!(train.labels()[..5], [9, 0, 0, 3, 0]);
    let batch = train.batch(&(0..2000).collect::<Vec<u32>>());
    let mean = batch.x.data().iter().map(|&x| f64::from(x)).sum::<f64>() / batch.x.data().len() as f64;
    // Mean of the full training set: 0.2860; that of 2,000 images has a standard error of about 0.004.
    assert!((mean - 0.286).abs() < 0.012, "{mean}");
}

#[test]
fn the_built_in_part_passes_verification_without_any_folder() {
    let verified = verify_in(&[], "fashion-mnist-mini").unwrap();
    assert_eq!(verified.len(), 4);
}

#[test]
fn a_plain_and_a_gzipped_set_are_the_same() {
    let (root, folder) = tiny_mnist(20);
    let roots = [root.path().to_owned()];
    let plain = load_from(&roots, "mnist", Split::Test).unwrap();
    FILES.iter().for_each(|file| gzip(&folder.join(file)));
    let gzipped = load_from(&roots, "mnist", Split::Test).unwrap();
    assert_eq!((plain.elements(), plain.labels()), (gzipped.elements(), gzipped.labels()));
    assert_eq!(plain.len(), 20);
}

#[test]
fn the_first_folder_that_has_the_set_is_used() {
    let ((first, _), (second, _)) = (tiny_mnist(3), tiny_mnist(5));
    let empty = tempfile::tempdir().unwrap();
    let roots = [&empty, &first, &second].map(|root| root.path().to_owned());
    assert_eq!(load_from(&roots, "mnist", Split::Train).unwrap().len(), 3);
}

#[test]
fn a_missing_set_says_where_it_was_looked_for_and_which_files_to_put_there() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("mnist").display().to_string();
    refused(root.path(), &[&folder, "IRESNET_DATA", "fashion-mnist-mini"]);
    refused(root.path(), &FILES);
}

#[test]
fn a_single_missing_file_is_named() {
    let (root, folder) = tiny_mnist(4);
    fs::remove_file(folder.join(FILES[1])).unwrap();
    refused(root.path(), &[&folder.join(FILES[1]).display().to_string(), "missing"]);
}

#[test]
fn swapped_files_are_told_from_each_other() {
    let (root, folder) = tiny_mnist(4);
    fs::copy(folder.join(FILES[1]), folder.join(FILES[0])).unwrap();
    refused(root.path(), &[FILES[0], "are the two swapped?"]);
}

#[test]
fn a_truncated_file_is_told_with_its_sizes() {
    let (root, folder) = tiny_mnist(4);
    let whole = fs::read(folder.join(FILES[0])).unwrap();
    fs::write(folder.join(FILES[0]), &whole[..whole.len() - 100]).unwrap();
    refused(root.path(), &["4 images of 28x28 = 3136 bytes, it has 3036", "get it again"]);
}

#[test]
fn images_without_labels_are_refused() {
    let (root, folder) = tiny_mnist(4);
    fs::write(folder.join(FILES[1]), idx::encode(&[3], &[0, 1, 2])).unwrap();
    refused(root.path(), &["3 labels for the 4 images"]);
}

#[test]
fn images_of_another_size_are_refused() {
    let (root, folder) = tiny_mnist(4);
    fs::write(folder.join(FILES[0]), idx::encode(&[4, 32, 32], &[0; 4 * 32 * 32])).unwrap();
    refused(root.path(), &["images of 32x32, those of mnist are 28x28"]);
}

#[test]
fn an_unknown_set_is_answered_with_the_nearest() {
    for (name, nearest) in [("fashion-mnst", "fashion-mnist"), ("toy:mons", "moons")] {
        let error = load_from(&[], name, Split::Train).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error:?}");
        assert!(error.to_string().contains(&format!("did you mean \"{nearest}\"?")), "{error}");
    }
}

#[test]
fn a_file_of_other_content_fails_verification() {
    let (root, _) = tiny_mnist(4);
    let error = verify_in(&[root.path().to_owned()], "mnist").unwrap_err();
    assert!(matches!(error, Error::Verification(_)), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(FILES[0]) && message.contains("6bbc9ace898e44ae57da46a324031adb"), "{message}");
}

#[test]
fn sets_that_are_there_are_complete_and_official() {
    // What is there depends on the machine; the built-in part is always there.
    let there: Vec<_> = catalogue().into_iter().filter(|entry| entry.available).collect();
    assert!(there.iter().any(|entry| entry.name == "fashion-mnist-mini"));
    for entry in there {
        verify(&entry.name).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        let sizes = [Split::Train, Split::Test].map(|split| {
            let set = load(&entry.name, split).unwrap();
            assert_eq!((set.shape(), set.classes()), (entry.shape, entry.classes.len()), "{}", entry.name);
            set.len()
        });
        assert_eq!(sizes, entry.images.unwrap_or(sizes), "{}", entry.name);
    }
}

#[test]
fn the_catalogue_says_of_every_set_what_it_is() {
    let entries = catalogue();
    for name in ["fashion-mnist-mini", "fashion-mnist", "mnist", "toy:8gaussians", "toy:checkerboard"] {
        let entry = entries.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name} is not listed"));
        assert!(!entry.licence.is_empty());
        assert_eq!(entry.classes.len(), if name.starts_with("toy:") { 0 } else { 10 });
    }
}

#[test]
fn a_run_resumed_at_any_step_sees_the_same_batches() {
    let set = load_from(&[], "fashion-mnist-mini", Split::Train).unwrap();
    let augment = Some(Augment { shift: 2, padding: Padding::Zero, flip: true });
    let prepare = Prepare { pad: 2, augment, dequantize: true, ..Prepare::default() };
    let (seed, batch) = (42, 64);
    let mut batches = Batches::new(seed, batch, set.len());
    let run: Vec<_> = (0..40).map(|step| prepare.batch(&set, &batches.indices(step), seed, step)).collect();
    for step in [39, 0, 31] {
        // A fresh process would know the seed and the step, and nothing else.
        let again = prepare.batch(&set, &indices(seed, step, batch, set.len()), seed, step);
        assert!(again == run[step as usize], "step {step}");
    }
    assert_eq!(run[0].x.shape().extents(), [64, 1, 32, 32]);
}

#[test]
fn an_evaluation_counts_every_image_once() {
    let set = load_from(&[], "fashion-mnist-mini", Split::Test).unwrap();
    let counted: Vec<u32> =
        eval_batches(64, set.len()).flat_map(|batch| batch.indices[..batch.real].to_vec()).collect();
    assert_eq!(counted, (0..500).collect::<Vec<u32>>());
}
