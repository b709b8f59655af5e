//! `folder:DIR`: pictures in folders, and what does not fit.
#![cfg(feature = "cli")]

use std::fs;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use iresnet::config::{Config, Fit, Kind};
use iresnet::data::source::Source;
use iresnet::data::{Split, folder};
use iresnet::error::Error;

/// A picture of one colour.
fn picture(folder: &Path, name: &str, [width, height]: [u32; 2], colour: [u8; 3]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let format = if name.ends_with("png") { ImageFormat::Png } else { ImageFormat::Jpeg };
    RgbImage::from_pixel(width, height, Rgb(colour)).save_with_format(path, format).unwrap();
}

fn load(folder: &Path, split: Split) -> Result<iresnet::data::Dataset, Error> {
    folder::load(folder, split, [3, 4, 6], Fit::Exact)
}

#[track_caller]
fn refused(folder: &Path, split: Split, parts: &[&str]) {
    let error = load(folder, split).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error:?}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error} does not say {part:?}");
    }
}

#[test]
fn pictures_come_in_the_order_of_their_names() {
    let place = tempfile::tempdir().unwrap();
    for (name, red) in [("c.png", 3), ("a.png", 1), ("b.PNG", 2), ("d.png", 4)] {
        picture(place.path(), &name.to_lowercase(), [6, 4], [red, 50, 60]);
        if name.ends_with("PNG") {
            fs::rename(place.path().join(name.to_lowercase()), place.path().join(name)).unwrap();
        }
    }
    fs::write(place.path().join("notes.txt"), "not a picture").unwrap();
    fs::write(place.path().join(".hidden.png"), "not a picture").unwrap();
    let set = load(place.path(), Split::Train).unwrap();
    assert_eq!((set.len(), set.shape(), set.classes(), set.labels().len()), (4, [3, 4, 6], 0, 0));
    let reds: Vec<u8> = (0..4).map(|index| set.bytes(&[index]).unwrap()[0]).collect();
    assert_eq!(reds, [1, 2, 3, 4]);
    let first = set.bytes(&[0]).unwrap();
    assert_eq!((first[24], first[48], first.len()), (50, 60, 72), "channel by channel");
    assert_eq!(load(place.path(), Split::Test).unwrap().elements(), set.elements(), "without a test folder, the same");
}

#[test]
fn folders_are_classes_and_splits_are_honoured() {
    let place = tempfile::tempdir().unwrap();
    for (name, red) in
        [("train/dog/1.png", 10), ("train/cat/2.png", 20), ("train/cat/1.png", 21), ("test/dog/9.png", 30)]
    {
        picture(place.path(), name, [6, 4], [red, 0, 0]);
    }
    let train = load(place.path(), Split::Train).unwrap();
    assert_eq!((train.labels(), train.classes()), (&[0, 0, 1][..], 2));
    let reds: Vec<u8> = (0..3).map(|index| train.bytes(&[index]).unwrap()[0]).collect();
    assert_eq!(reds, [21, 20, 10]);
    let test = load(place.path(), Split::Test).unwrap();
    assert_eq!((test.labels(), test.classes(), test.len()), (&[1][..], 2, 1), "dog is class 1, though alone in test");
    assert_eq!(folder::list(place.path(), Split::Test).unwrap().classes, ["cat", "dog"]);
    picture(place.path(), "test/bird/1.png", [6, 4], [0; 3]);
    refused(place.path(), Split::Test, &["test/bird", "no class", "cat"]);
}

#[test]
fn what_is_laid_out_otherwise_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    refused(&place.path().join("none"), Split::Train, &["none", "cannot be read"]);
    refused(place.path(), Split::Train, &["no pictures"]);
    picture(place.path(), "cat/deep/1.png", [6, 4], [0; 3]);
    refused(place.path(), Split::Train, &["cat/deep", "folder inside"]);
    let place = tempfile::tempdir().unwrap();
    picture(place.path(), "cat/1.png", [6, 4], [0; 3]);
    picture(place.path(), "stray.png", [6, 4], [0; 3]);
    refused(place.path(), Split::Train, &["stray.png", "beside"]);
    let place = tempfile::tempdir().unwrap();
    picture(place.path(), "test/1.png", [6, 4], [0; 3]);
    refused(place.path(), Split::Train, &["`test`", "`train`"]);
}

#[test]
fn broken_pictures_are_named_and_the_first_is() {
    let place = tempfile::tempdir().unwrap();
    for number in 0..9 {
        picture(place.path(), &format!("{number}.png"), [6, 4], [number; 3]);
    }
    for broken in ["7.png", "4.png"] {
        let path = place.path().join(broken);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    }
    refused(place.path(), Split::Train, &["4.png", "damaged"]);
    fs::write(place.path().join("4.png"), "<html>").unwrap();
    refused(place.path(), Split::Train, &["4.png", "not a picture"]);
    let message = folder::check(place.path(), Split::Test).unwrap_err().to_string();
    assert!(message.contains("4.png"), "{message}");
    for broken in ["7.png", "4.png"] {
        // Size does not matter to a check.
        picture(place.path(), broken, [60, 40], [9; 3]);
    }
    assert_eq!(folder::check(place.path(), Split::Test).unwrap().pictures.len(), 9);
}

#[test]
fn other_sizes_are_refused_resized_or_cropped_as_asked() {
    let place = tempfile::tempdir().unwrap();
    picture(place.path(), "a.jpg", [6, 4], [200; 3]);
    picture(place.path(), "b.png", [12, 8], [100; 3]);
    refused(place.path(), Split::Train, &["b.png", "12 × 8", "6 × 4"]);
    let grey = RgbImage::from_fn(12, 4, |x, _| Rgb(if (3..9).contains(&x) { [255; 3] } else { [0; 3] }));
    grey.save(place.path().join("b.png")).unwrap();
    let load = |fit| folder::load(place.path(), Split::Train, [1, 4, 6], fit).unwrap().bytes(&[1]).unwrap();
    assert_eq!(load(Fit::Crop), [255; 24], "the middle half");
    let resized = load(Fit::Resize);
    assert!(resized[0] < 64 && resized[3] > 192, "{resized:?}");
}

#[test]
fn a_source_takes_channels_and_size_from_the_model() {
    let place = tempfile::tempdir().unwrap();
    picture(place.path(), "cat/1.png", [8, 8], [255, 255, 255]);
    picture(place.path(), "dog/1.png", [8, 8], [0, 0, 0]);
    let mut config = Config::default();
    config.data.name = format!("folder:{}", place.path().display());
    config.data.batch = 2;
    (config.model.input, config.model.classes) = (vec![1, 8, 8], 2);
    let source = Source::open(&config, None, Split::Train).unwrap();
    // Nothing is usual for a user's own pictures: two plain ones stay as they are, augmented or not.
    let batch = source.training(0).next().unwrap();
    let white = batch.labels.iter().position(|&label| label == 0).unwrap();
    assert_eq!((batch.x.row(white), batch.x.row(1 - white)), (&[0.5; 64][..], &[-0.5; 64][..]));
    config.model.classes = 10;
    let error = Source::open(&config, None, Split::Train).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("2 classes"), "{error}");
    config.model.kind = Kind::Toy;
    config.model.input = vec![64];
    let error = Source::open(&config, None, Split::Train).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("model.input"), "{error}");
}
