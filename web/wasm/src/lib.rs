//! iresnet as a module for browsers. Only the TypeScript of `web/package` calls it, which checks arguments, keeps calls in
//! order and knows what to do when a device is lost; so this is thin, and passes numbers in flat arrays.
//!
//! Errors are strings: a code of the package's, a line break, and the message.
#![cfg(target_arch = "wasm32")]

#[cfg(feature = "bench")]
mod bench;
mod evaluate;
mod invert;
mod loaded;
mod train;

use iresnet::error::Error;
use iresnet::gpu::Gpu;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

pub use loaded::Loaded;

/// An open device.
#[wasm_bindgen]
pub struct Device {
    gpu: Gpu,
}

/// Opens the device that `navigator.gpu` has for us. The global is read before this returns.
#[wasm_bindgen]
pub fn open() -> Promise {
    let opening = Gpu::open_in_browser();
    future_to_promise(async move { Ok(Device { gpu: opening.await.map_err(raise)? }.into()) })
}

#[wasm_bindgen]
impl Device {
    /// Number of buffers held on it.
    pub fn buffers(&self) -> f64 {
        self.gpu.held().0 as f64
    }

    /// Their bytes.
    pub fn bytes(&self) -> f64 {
        self.gpu.held().1 as f64
    }
}

/// An error as the package reads it.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn raise(error: Error) -> JsValue {
    let code = match &error {
        Error::Config(_) | Error::Data { .. } | Error::Io { .. } => "INVALID_ARGUMENT",
        Error::NoAdapter(_) => "NO_ADAPTER",
        Error::Gpu(_) => "GPU",
        Error::OutOfMemory(_) => "OUT_OF_MEMORY",
        Error::Diverged(_) | Error::Verification(_) => "DIVERGED",
        Error::Model { .. } => "BAD_MODEL",
        _ => "INTERNAL",
    };
    raise_as(code, &error.to_string())
}

fn raise_as(code: &str, message: &str) -> JsValue {
    JsValue::from_str(&[code, "\n", message].concat())
}
