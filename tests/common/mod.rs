//! What the GPU tests share: running a test on every adapter there is.

mod adapter_log;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use iresnet::gpu::{self, Adapter, Gpu, block_on};

/// A test known to fail on some adapters. It fails for good where it unexpectedly passes: then remove the entry.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) struct ExpectedFailure {
    /// The backend, such as `gl`.
    pub(crate) backend: &'static str,
    /// Part of the adapter's name.
    pub(crate) adapter: &'static str,
    /// Why, with a link where there is one.
    pub(crate) reason: &'static str,
}

/// Every adapter that can run our kernels. None at all is a failure, not a reason to skip.
pub(crate) fn adapters() -> &'static [Adapter] {
    static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(list_adapters)
}

/// The same, found anew.
pub(crate) fn list_adapters() -> Vec<Adapter> {
    let mut adapters = block_on(gpu::adapters());
    adapters.retain(|adapter| adapter.info().suitable);
    assert!(!adapters.is_empty(), "no adapter to test on: install one, such as mesa-vulkan-drivers");
    adapters
}

/// Opens an adapter for a test.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) fn open(adapter: &Adapter) -> Gpu {
    let gpu = block_on(Gpu::open_adapter(adapter)).unwrap();
    adapter_log::note(&format!("{} ({})", adapter.info().name, adapter.info().backend));
    gpu
}

/// Runs `test` on every adapter, each time with a device of its own.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) fn on_every_adapter(test: impl Fn(&Gpu)) {
    on_every_adapter_except(&[], test);
}

/// Runs `test` once on every device: an adapter that is another API's way to a device met before is passed over. For tests
/// of whole models, whose hundreds of kernels software drivers compile for minutes; kernels and operators meet every
/// adapter.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) fn on_every_device(test: impl Fn(&Gpu)) {
    on(adapters().iter().filter(|adapter| adapter.info().duplicate_of.is_none()), &[], test);
}

/// Runs `test` on every adapter, requiring it to fail where `failures` say so and to pass everywhere else.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) fn on_every_adapter_except(failures: &[ExpectedFailure], test: impl Fn(&Gpu)) {
    on(adapters(), failures, test);
}

fn on<'a>(adapters: impl IntoIterator<Item = &'a Adapter>, failures: &[ExpectedFailure], test: impl Fn(&Gpu)) {
    for adapter in adapters {
        let info = adapter.info();
        let expected =
            failures.iter().find(|failure| failure.backend == info.backend && info.name.contains(failure.adapter));
        println!("on {info}{}", if expected.is_some() { ", expecting a failure" } else { "" });
        let gpu = open(adapter);
        match (expected, catch_unwind(AssertUnwindSafe(|| test(&gpu)))) {
            (None, Ok(())) => {}
            (None, Err(panic)) => {
                eprintln!("failed on {info}");
                resume_unwind(panic);
            }
            (Some(failure), Err(_)) => println!("failed as expected: {}", failure.reason),
            (Some(failure), Ok(())) => panic!("passes on {info}, though it should not: {}", failure.reason),
        }
    }
}
