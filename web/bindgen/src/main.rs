//! `iresnet-bindgen MODULE FOLDER`: the module of the compiler as one for browsers, `iresnet_bg.wasm`, with the
//! JavaScript that it needs, `iresnet.js`, and its types.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder] = arguments.as_slice() else {
        eprintln!("usage: iresnet-bindgen MODULE FOLDER");
        return ExitCode::from(2);
    };
    let made = Bindgen::new()
        .input_path(module)
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .out_name("iresnet")
                .typescript(true)
                .omit_default_module_path(true)
                // Names of functions, for whoever looks into a large module; the optimiser drops them.
                .keep_debug(false)
                .remove_producers_section(true)
                .generate(folder)
        });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{module}: {error:#}");
            ExitCode::from(1)
        }
    }
}
