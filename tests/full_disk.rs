//! A disk that is really full, and one that really cannot be written: a small file system in memory, in a mount namespace
//! of the test's own. (A limit on the size of files, which any user may set, ends software drivers: their memory is files.)

#![cfg(target_os = "linux")]

#[path = "common/program.rs"]
mod program;

use std::process::Command;

use iresnet::checkpoint::Checkpoint;
use program::{Place, TOY, ends_with, losses};

/// What makes the namespace: root may, others by becoming root in a namespace of users first, where that is allowed.
fn namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["-m"], &["-r", "-m"]];
    let works = |way: &&[&str]| {
        let mut command = Command::new("unshare");
        let trial = "mount -t tmpfs -o size=64k iresnet /mnt";
        command.args(*way).args(["sh", "-c", trial]).output().is_ok_and(|output| output.status.success())
    };
    let found = ways.into_iter().find(works);
    if found.is_none() {
        println!("not run: no file system can be mounted here");
    }
    found
}

/// Runs a script whose `$PROGRAM` is the program, with the small file system at `disk`; what is left there is copied to
/// `kept`. The script's exit code is expected.
#[track_caller]
fn on_a_small_disk(place: &Place, way: &[&str], kilobytes: u32, script: &str, code: i32) -> String {
    std::fs::create_dir_all(place.path("disk")).unwrap();
    let text = format!(
        "mount -t tmpfs -o size={kilobytes}k iresnet disk || exit 99\n({script})\ncode=$?\ncp -r disk/run kept || exit 98\nexit $code"
    );
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", &text]).current_dir(place.path(""));
    command.env("PROGRAM", env!("CARGO_BIN_EXE_iresnet")).env("IRESNET_TUNING", "off");
    ends_with(command, code)
}

#[test]
fn a_full_disk_ends_a_run_late_and_costs_nothing_that_was_saved() {
    let Some(way) = namespace() else { return };
    let place = Place::new();
    place.write("config.toml", TOY.replace("epochs = 4", "epochs = 4\ncheckpoint_every = 2"));
    let script = "
        $PROGRAM train config.toml --out disk/run --steps 3 || exit 97
        dd if=/dev/zero of=disk/rest bs=1k 2>/dev/null
        $PROGRAM train --out disk/run --resume";
    let said = on_a_small_disk(&place, way, 256, script, 2);
    assert!(said.contains("No space left on device") && said.contains("make room"), "{said}");
    let checkpoint = Checkpoint::load(&place.path("kept/checkpoint.safetensors")).unwrap();
    assert_eq!(checkpoint.step, 3, "what there was is whole");
    assert!(losses(&place.path("kept")).len() >= 3);
    // With room again it goes on, and ends as if nothing had been.
    place.ends_with(&["train", "--out", "kept", "--resume"], 0);
    place.ends_with(&["train", "config.toml", "--out", "undisturbed"], 0);
    let [kept, undisturbed] = ["kept", "undisturbed"].map(|run| place.path(run).join("model.safetensors"));
    assert!(Checkpoint::load(&kept).unwrap() == Checkpoint::load(&undisturbed).unwrap());
    assert_eq!(losses(&place.path("kept")), losses(&place.path("undisturbed")));
}

#[test]
fn a_disk_that_cannot_be_written_is_said_to_be_so() {
    let Some(way) = namespace() else { return };
    let place = Place::new();
    place.write("config.toml", TOY);
    let script = "
        $PROGRAM train config.toml --out disk/run --steps 3 || exit 97
        mount -o remount,ro disk || exit 96
        $PROGRAM train --out disk/run --resume";
    let said = on_a_small_disk(&place, way, 1024, script, 2);
    assert!(said.contains("Read-only file system") && said.contains("disk/run"), "{said}");
    assert_eq!(Checkpoint::load(&place.path("kept/checkpoint.safetensors")).unwrap().step, 3);
    let script = "mkdir disk/run; mount -o remount,ro disk; $PROGRAM train config.toml --out disk/another";
    std::fs::remove_dir_all(place.path("kept")).unwrap();
    let said = on_a_small_disk(&place, way, 1024, script, 2);
    assert!(said.contains("Read-only file system") && said.contains("disk/another"), "{said}");
}
