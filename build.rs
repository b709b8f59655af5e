//! For the feature `mpi` alone: where the MPI's library lies, and whether it can go on without a process (ULFM).

use std::path::PathBuf;
use std::process::Command;

/// A program that links only where the extension is there.
const PROBE: &str = "
#include <mpi.h>
#if defined(OPEN_MPI)
#include <mpi-ext.h>
#endif
int main(void) {
    MPI_Comm smaller;
    int flag = MPIX_ERR_PROC_FAILED;
    MPI_Group failed;
    MPIX_Comm_revoke(MPI_COMM_WORLD);
    MPIX_Comm_failure_ack(MPI_COMM_WORLD);
    MPIX_Comm_failure_get_acked(MPI_COMM_WORLD, &failed);
    return MPIX_Comm_agree(MPI_COMM_WORLD, &flag) + MPIX_Comm_shrink(MPI_COMM_WORLD, &smaller);
}
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MPICC");
    println!("cargo::rustc-check-cfg=cfg(ulfm)");
    if std::env::var_os("CARGO_FEATURE_MPI").is_none() {
        return;
    }
    let mpicc = std::env::var("MPICC").unwrap_or_else(|_| "mpicc".into());
    let shown = Command::new(&mpicc).arg("-show").output();
    let shown = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // So that the program finds the library where it was built, also where that is no folder of the system's.
    for folder in shown.split_whitespace().filter_map(|word| word.strip_prefix("-L")) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.trim_matches('"'));
    }
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    let (source, program) = (folder.join("ulfm.c"), folder.join("ulfm"));
    let written = std::fs::write(&source, PROBE).is_ok();
    let linked =
        Command::new(&mpicc).arg("-Werror=implicit-function-declaration").arg(&source).arg("-o").arg(&program).output();
    if written && linked.is_ok_and(|output| output.status.success()) {
        println!("cargo::rustc-cfg=ulfm");
    }
}
