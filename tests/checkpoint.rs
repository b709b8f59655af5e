//! Model files: what is written is read back; what is damaged is refused, whatever the damage.

use std::path::Path;

use iresnet::checkpoint::{Checkpoint, OPTIMIZER};
use iresnet::config::Config;
use iresnet::error::Error;
use iresnet::nn::{Model, param};
use iresnet::optim;
use iresnet::tensor::Tensor;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// A few thousand bytes, so that much of it can be damaged in turn.
const CONFIG: &str = r#"
[model]
kind = "toy"
input = [2]
blocks = [2]
strides = [1]
channels = [3]
hidden_layers = 1
injective_padding = 0
[log_det]
estimator = "exact"
[data]
name = "toy:checkerboard"
"#;

fn checkpoint() -> Checkpoint {
    let config = Config::from_toml(CONFIG, "test").unwrap();
    let model = Model::new(&config).unwrap();
    let mut tensors = param::initialize(model.params(), 5);
    let mut names = optim::state_names(&config.optimizer);
    assert!(!names.is_empty());
    names.sort_unstable();
    for name in names {
        tensors.push((format!("{OPTIMIZER}{name}"), Tensor::new([7], vec![0.5; 7])));
    }
    Checkpoint { config, step: 123_456, tensors }
}

fn read(bytes: &[u8]) -> Result<Checkpoint, Error> {
    Checkpoint::from_bytes(bytes, Path::new("runs/a/model.safetensors"))
}

/// The problem that reading must find.
#[track_caller]
fn refused(bytes: &[u8]) -> String {
    match read(bytes) {
        Err(Error::Model { path, problem }) => {
            assert_eq!(path, Path::new("runs/a/model.safetensors"));
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_checkpoint_comes_back_as_it_was() {
    let checkpoint = checkpoint();
    let bytes = checkpoint.to_bytes();
    assert_eq!(read(&bytes).unwrap(), checkpoint);
    assert_eq!(checkpoint.to_bytes(), bytes, "equal contents give equal bytes");
    assert_eq!(read(&bytes).unwrap().to_bytes(), bytes);
    let mut shuffled = checkpoint.clone();
    shuffled.tensors.reverse();
    assert_eq!(shuffled.hash(), checkpoint.hash(), "the hash does not depend on the order");
    let model = checkpoint.clone().model_only();
    assert!(model.tensors.iter().all(|(name, _)| !name.starts_with(OPTIMIZER)));
    assert_eq!(read(&model.to_bytes()).unwrap(), model);
}

#[test]
fn saved_files_are_whole_and_nothing_lies_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut checkpoint = checkpoint();
    for step in [1, 2] {
        checkpoint.step = step;
        checkpoint.save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(checkpoint.save(&folder.path().join("no/such/folder")), Err(Error::Io { .. })));
    assert!(matches!(Checkpoint::load(&folder.path().join("none")), Err(Error::Model { .. })));
}

/// Any reader of safetensors finds the tensors, and the configuration as JSON.
#[test]
fn other_programs_can_read_it() {
    let checkpoint = checkpoint();
    let bytes = checkpoint.to_bytes();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let entry = &metadata.metadata().as_ref().unwrap()["iresnet"];
    let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
    assert_eq!((entry["version"].as_u64(), entry["step"].as_u64()), (Some(1), Some(123_456)));
    assert_eq!(entry["config"]["model"]["kind"], "toy");
    assert_eq!(entry["hash"], checkpoint.hash());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), checkpoint.tensors.len());
    for (name, tensor) in &checkpoint.tensors {
        let view = file.tensor(name).unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::F32, tensor.shape().extents()));
    }
}

#[test]
fn truncated_files_are_refused() {
    let bytes = checkpoint().to_bytes();
    assert!(refused(&[]).contains("empty"));
    for len in 1..bytes.len() {
        assert!(refused(&bytes[..len]).contains("truncated"), "the first {len} of {} bytes", bytes.len());
    }
    let longer = [&bytes[..], &[0; 4]].concat();
    refused(&longer);
    // What the large-file extension of git leaves where the file was not fetched.
    assert!(refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n").contains("pointer"));
}

/// A bit that flips is noticed, unless it changes nothing that is read.
#[test]
fn flipped_bits_are_refused() {
    let checkpoint = checkpoint();
    let bytes = checkpoint.to_bytes();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert!(header < bytes.len());
    let mut harmless = 0;
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 7);
        match read(&damaged) {
            Err(Error::Model { .. }) => {}
            Ok(found) if position < header => {
                assert_eq!(found, checkpoint, "a flip at {position} went unnoticed");
                harmless += 1;
            }
            other => panic!("a flip at {position}: {other:?}"),
        }
    }
    // Padding of the header, and keys that JSON may repeat.
    assert!(harmless < header / 50, "{harmless} flips in a header of {header} bytes changed nothing");
}

#[test]
fn what_is_not_finite_is_refused() {
    for at in [0, checkpoint().tensors.len() - 1] {
        for value in [f32::NAN, f32::INFINITY] {
            let mut checkpoint = checkpoint();
            let (name, tensor) = &mut checkpoint.tensors[at];
            let (name, last) = (name.clone(), tensor.shape().len() - 1);
            tensor.data_mut()[last] = value;
            let problem = refused(&checkpoint.to_bytes());
            assert!(problem.contains(&name) && problem.contains(&format!("position {last}")), "{problem}");
            assert_eq!(checkpoint.check(), Err(problem));
        }
    }
}

#[test]
fn files_of_another_kind_are_refused_with_their_place() {
    let one = [0_u8; 4];
    let view = || TensorView::new(Dtype::F32, vec![1], &one).unwrap();
    let foreign = safetensors::serialize([("x", view())], None).unwrap();
    assert!(refused(&foreign).contains("not written by iresnet"));

    let rewritten = |edit: &dyn Fn(&mut serde_json::Value)| {
        let bytes = checkpoint().to_bytes();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut entries = metadata.metadata().clone().unwrap();
        let mut entry: serde_json::Value = serde_json::from_str(&entries["iresnet"]).unwrap();
        edit(&mut entry);
        entries.insert("iresnet".into(), entry.to_string());
        let file = SafeTensors::deserialize(&bytes).unwrap();
        safetensors::serialize(file.tensors(), Some(entries)).unwrap()
    };
    assert!(read(&rewritten(&|_| {})).is_ok());
    let newer = refused(&rewritten(&|entry| entry["version"] = 2.into()));
    assert!(newer.contains("version 2") && newer.contains("update"), "{newer}");
    assert!(refused(&rewritten(&|entry| entry["step"] = 5.into())).contains("hash"));
    assert!(refused(&rewritten(&|entry| entry["config"]["optimizer"]["lr"] = 0.5.into())).contains("hash"));
    assert!(refused(&rewritten(&|entry| entry["config"]["model"]["blocks"] = vec![3].into())).contains("missing"));
    assert!(refused(&rewritten(&|entry| entry["config"]["model"]["channels"] = vec![4].into())).contains("expected"));
    assert!(refused(&rewritten(&|entry| entry["config"]["model"]["blocks"] = vec![0].into())).contains("invalid"));
    assert!(refused(&rewritten(&|entry| entry["config"]["model"]["colour"] = 1.into())).contains("colour"));

    let mut more = checkpoint();
    more.tensors.push(("surplus".into(), Tensor::scalar(1.0)));
    assert!(refused(&more.to_bytes()).contains("\"surplus\""));
    let mut fewer = checkpoint();
    let (lost, _) = fewer.tensors.remove(0);
    assert!(refused(&fewer.to_bytes()).contains(&lost));
}
