//! Files open in Python, where it is there with `safetensors` and `numpy`.

use std::process::Command;

use crate::fixture::{self, Tensors, part};
use crate::program::Place;
use crate::{CLASSIFIER, save};

/// Loads what the program wrote, checks it, and writes what the program must read.
const SCRIPT: &str = r#"
import numpy
from safetensors.numpy import load_file, save_file
state = load_file("exported/model.safetensors")
assert state["bn1.num_batches_tracked"].dtype == numpy.int64 and state["bn1.num_batches_tracked"].shape == ()
assert state["stack.0.bottleneck_block.0.weight_orig"].shape == (8, 8, 3, 3)
given = load_file("state.safetensors")
assert given.keys() == state.keys()
for name, value in given.items():
    assert (value == state[name]).all() or name.startswith("prior_"), name
archive = numpy.load("z.npz")
named = load_file("z.safetensors")
alone = numpy.load("z.npy")
assert sorted(archive.files) == sorted(named) == ["logits", "z"]
for name in named:
    assert (archive[name] == named[name]).all(), name
assert (alone == named["z"]).all() and alone.dtype == numpy.float32
numpy.savez_compressed("x.npz", x=numpy.asfortranarray(load_file("x.safetensors")["x"].astype(numpy.float64)))
numpy.save("x.npy", load_file("x.safetensors")["x"])
save_file({"x": load_file("x.safetensors")["x"], "other": numpy.zeros(3, numpy.uint8)}, "x2.safetensors")
"#;

/// The interpreter, if it has both packages: `IRESNET_PYTHON`, else `python3`.
fn python() -> Option<String> {
    let python = std::env::var("IRESNET_PYTHON").unwrap_or_else(|_| "python3".into());
    let check = Command::new(&python).args(["-c", "import numpy, safetensors.numpy"]).output();
    check.is_ok_and(|done| done.status.success()).then_some(python)
}

#[test]
fn python_opens_what_is_written_and_the_other_way_round() {
    let Some(python) = python() else {
        assert!(std::env::var_os("IRESNET_PYTHON").is_none(), "IRESNET_PYTHON lacks numpy or safetensors");
        println!("no Python with numpy and safetensors: the independent readers of tests/fixtures stand in");
        return;
    };
    let (fixture, _) = fixture::load("classifier");
    let place = Place::new();
    place.write("c.toml", CLASSIFIER);
    save(&place.path("state.safetensors"), &fixture.under("init."), "");
    save(&place.path("x.safetensors"), &Tensors::default().with("x", part(fixture.get("x"), 0)), "");
    place.ends_with(&["import", "state.safetensors", "--config", "c.toml", "--output", "m.safetensors"], 0);
    place.ends_with(&["export", "m.safetensors", "--output", "exported"], 0);
    for output in ["z.safetensors", "z.npz", "z.npy"] {
        place.ends_with(&["encode", "m.safetensors", "--input", "x.safetensors", "--output", output], 0);
    }
    place.write("check.py", SCRIPT);
    let done = Command::new(python).arg("check.py").current_dir(place.path("")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    for input in ["x.npz", "x.npy", "x2.safetensors"] {
        place.ends_with(&["encode", "m.safetensors", "--input", input, "--output", "again.safetensors"], 0);
        assert!(bytes("again.safetensors") == bytes("z.safetensors"), "{input}");
    }
}
