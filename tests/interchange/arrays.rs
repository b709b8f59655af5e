//! Arrays that cannot be encoded or decoded: exit code 3 with file, array and place, nothing written.

use std::path::Path;

use iresnet::arrays::{Array, Elements, write};

use crate::program::{Place, TOY};

/// A flow of points in the plane, trained for a moment.
fn toy() -> Place {
    let place = Place::new();
    place.write("toy.toml", TOY);
    place.ends_with(&["train", "toy.toml", "--out", "run", "--steps", "1"], 0);
    place
}

const MODEL: &str = "run/model.safetensors";

#[track_caller]
fn refused(place: &Place, command: &str, input: &str, code: i32, parts: &[&str]) {
    let message = place.ends_with(&[command, MODEL, "--input", input, "--output", "out.npz"], code);
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
    assert!(!place.path("out.npz").exists(), "nothing is written");
}

fn points(path: &Path, name: &str, shape: &[usize], spoil: Option<(usize, f32)>) {
    let mut data: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * 0.37).sin()).collect();
    if let Some((at, value)) = spoil {
        data[at] = value;
    }
    write(path, &[(name, Array::floats(shape, data))]).unwrap();
}

#[test]
fn what_cannot_be_encoded_is_named_with_its_place() {
    let place = toy();
    points(&place.path("nan.npz"), "x", &[5, 2], Some((7, f32::NAN)));
    refused(&place, "encode", "nan.npz", 3, &["nan.npz", "\"x\"", "NaN at [3, 1]"]);
    points(&place.path("inf.npy"), "x", &[5, 2], Some((0, f32::INFINITY)));
    refused(&place, "encode", "inf.npy", 3, &["inf.npy", "inf at [0, 0]"]);
    points(&place.path("wide.safetensors"), "x", &[5, 3], None);
    refused(&place, "encode", "wide.safetensors", 3, &["\"x\"", "[5, 3]", "[N, 2]"]);
    points(&place.path("one.npz"), "x", &[2], None);
    refused(&place, "encode", "one.npz", 3, &["[2]", "an axis of length 1"]);
    points(&place.path("none.npz"), "x", &[0, 2], None);
    refused(&place, "encode", "none.npz", 3, &["no samples"]);
    points(&place.path("named.npz"), "y", &[5, 2], None);
    refused(&place, "encode", "named.npz", 3, &["no array \"x\"", "\"y\""]);
    write(&place.path("int.npz"), &[("x", Array::new([1, 2], Elements::I64(vec![1, 2])))]).unwrap();
    refused(&place, "encode", "int.npz", 3, &["\"x\"", "integers", "float32"]);
    points(&place.path("good.npz"), "x", &[50, 2], None);
    let whole = std::fs::read(place.path("good.npz")).unwrap();
    place.write("short.npz", &whole[..whole.len() / 2]);
    refused(&place, "encode", "short.npz", 3, &["short.npz", "truncated"]);
    refused(&place, "encode", "nowhere.npz", 3, &["nowhere.npz"]);
    refused(&place, "encode", "toy.toml", 3, &["toy.toml", ".npz"]);
    points(&place.path("z.npz"), "z", &[5, 3], None);
    refused(&place, "decode", "z.npz", 3, &["\"z\"", "[5, 3]", "[N, 2]"]);
    points(&place.path("zn.npz"), "z", &[5, 2], Some((2, f32::NAN)));
    refused(&place, "decode", "zn.npz", 3, &["\"z\"", "NaN at [1, 0]"]);
    let message = place.ends_with(&["encode", MODEL, "--input", "good.npz", "--output", "out.txt"], 2);
    assert!(message.contains("out.txt") && message.contains(".safetensors"), "{message}");
    let message = place.ends_with(&["encode", MODEL, "--input", "good.npz", "--output", "no/out.npz"], 2);
    assert!(message.contains("no"), "{message}");
}

/// Any number of points, there and back, by both solvers; densities add up.
#[test]
fn points_go_there_and_back() {
    /// Rounding of a few operations on numbers of about one, over two blocks.
    const ROUND_TRIP: f64 = 1e-5;
    let place = toy();
    for count in [1, 5, 7] {
        points(&place.path("x.npy"), "x", &[count, 2], None);
        let encode = ["encode", MODEL, "--input", "x.npy", "--output", "z.safetensors", "--batch", "3"];
        place.ends_with(&[&encode[..], &["--log-det", "exact"]].concat(), 0);
        let found = crate::load(&place.path("z.safetensors"));
        assert_eq!(found.get("z").shape().extents(), [count, 2]);
        for name in ["log_prior", "log_det", "log_prob"] {
            assert_eq!(found.get(name).shape().extents(), [count], "{name}");
        }
        for solver in ["picard", "anderson"] {
            let decode = ["decode", MODEL, "--input", "z.safetensors", "--output", "back.npz", "--solver", solver];
            place.ends_with(&[&decode[..], &["--batch", "2"]].concat(), 0);
            let back = crate::load(&place.path("back.npz"));
            let x = iresnet::arrays::ArrayFile::open(&place.path("x.npy")).unwrap().tensor("x").unwrap();
            for (a, &b) in back.get("x").data().iter().zip(x.data()) {
                assert!((a - f64::from(b)).abs() < ROUND_TRIP, "{solver}: {a}, not {b}");
            }
            assert!(back.get("converged").data().iter().all(|&flag| flag == 1.0));
            assert!(back.get("iterations").data().iter().all(|&count| count > 2.0));
        }
    }
    let decode = ["decode", MODEL, "--input", "z.safetensors", "--output", "back.npz", "--iterations", "1"];
    let message = place.ends_with(&decode, 0);
    assert!(message.contains("did not converge"), "never silent: {message}");
    assert!(crate::load(&place.path("back.npz")).get("converged").data().contains(&0.0));
}
