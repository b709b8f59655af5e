//! Checks that a WGSL compute kernel runs everywhere: on default limits, through every back end of naga, in browsers.
//!
//! [`check`] takes the text of a complete module and the number of its inputs and outputs, so any test can apply it to
//! any kernel; [`check_program`] applies it to all kernels of a program, whatever made them. Modules that pass are
//! written to a folder ([`dump`]), from where `cargo xtask test` feeds them to Tint, the compiler of Chromium.

#![allow(dead_code, unreachable_pub, reason = "each test program includes this and uses another part of it")]

mod uniformity;

use iresnet::plan::program::{Kernel, Program};
use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationError, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, ShaderStage, Span, StorageAccess, TypeInner, WithSpan};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

/// WebGPU's default for `maxComputeInvocationsPerWorkgroup`, and for the size along x and y.
pub const MAX_INVOCATIONS: u32 = 256;
/// WebGPU's default for `maxComputeWorkgroupSizeZ`.
pub const MAX_DEPTH: u32 = 64;
/// WebGPU's default for `maxComputeWorkgroupStorageSize`, in bytes.
pub const MAX_WORKGROUP_BYTES: u32 = 16 * 1024;
/// WebGPU's default for `maxStorageBuffersPerShaderStage`.
pub const MAX_STORAGE_BUFFERS: usize = 8;

/// What a kernel asks of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Invocations in a workgroup.
    pub invocations: u32,
    /// Extent of a workgroup along each axis.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory, the plain sum over the variables.
    pub workgroup_bytes: u32,
    /// The same as WebGPU counts it: each variable rounded up to 16 bytes.
    pub workgroup_storage: u32,
    /// What it needs that a device may lack: subgroup operations, half precision.
    pub extras: Capabilities,
}

impl Demand {
    /// Whether a device with WebGPU's default limits can run it.
    pub fn fits_default_limits(&self) -> bool {
        let [x, y, z] = self.workgroup_size;
        self.extras.is_empty()
            && self.invocations <= MAX_INVOCATIONS
            && x.max(y) <= MAX_INVOCATIONS
            && z <= MAX_DEPTH
            && self.workgroup_storage <= MAX_WORKGROUP_BYTES
    }
}

/// A rule that compilers do not enforce everywhere.
pub struct Lint {
    /// Short name; the shaders that must be refused are named for it.
    pub name: &'static str,
    /// The rule in one line.
    pub summary: &'static str,
    /// Why there is such a rule, and what to do instead.
    pub explanation: &'static str,
    /// Where a module breaks it: place and detail.
    pub violations: fn(&Module) -> Vec<(Span, String)>,
}

/// All lints.
pub const LINTS: &[Lint] = &[
    Lint {
        name: "barrier",
        summary: "no barrier in non-uniform control flow",
        explanation: "All invocations of a workgroup must reach a barrier together. naga does not check it, Tint does: \
                      the kernel would run natively and be refused by Chromium. Guard the loads and stores, not the \
                      invocations; leave early only on conditions made of workgroup_id, num_workgroups, uniforms, \
                      constants and `read` storage.",
        violations: |module| {
            let found = uniformity::analyse(module).barriers;
            found
                .into_iter()
                .map(|(span, taint)| (span, format!("whether it is reached depends on {}", taint.describe())))
                .collect()
        },
    },
    Lint {
        name: "loop-bound",
        summary: "no loop whose length depends on a read_write binding",
        explanation: "Other workgroups may be writing the binding, so the number of rounds, and with it the order of \
                      a sum, could differ from run to run; and no barrier may stand inside. Take bounds from constants, \
                      uniforms or `read` bindings.",
        violations: |module| {
            let found = uniformity::analyse(module).loops;
            found.into_iter().map(|span| (span, "its end depends on a read_write binding".to_owned())).collect()
        },
    },
    Lint {
        name: "float-atomic",
        summary: "no floating-point atomics",
        explanation: "WebGPU has none, and their order of summation, hence the result, changes from run to run. Write \
                      the kernel in gather form, or sum in two passes.",
        violations: float_atomics,
    },
];

fn float_atomics(module: &Module) -> Vec<(Span, String)> {
    let types = module.types.iter().filter_map(|(handle, ty)| match ty.inner {
        TypeInner::Atomic(scalar) if scalar.kind == ScalarKind::Float => {
            Some((module.types.get_span(handle), "an atomic of a float".to_owned()))
        }
        _ => None,
    });
    types.collect()
}

/// Parses a module; the error is naga's own, with the source line.
pub fn parse(label: &str, source: &str) -> Result<Module, String> {
    naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string_with_path(source, label))
}

/// Applies all lints; each violation becomes a message naming line, rule and reason.
pub fn lint(label: &str, source: &str, module: &Module) -> Vec<String> {
    let mut problems = Vec::new();
    for lint in LINTS {
        for (span, detail) in (lint.violations)(module) {
            let line = if span.is_defined() { span.location(source).line_number } else { 0 };
            problems.push(format!("{label}:{line}: {}: {detail}\n  {}", lint.summary, lint.explanation));
        }
    }
    problems
}

/// Checks a complete module with `inputs` read-only and `outputs` read-write bindings: it parses, validates with no
/// capability but subgroup operations or half precision (which the result tells), follows the binding convention, breaks no [`LINTS`],
/// and becomes SPIR-V, MSL, HLSL and GLSL. The error holds every problem found.
pub fn check(label: &str, source: &str, inputs: usize, outputs: usize) -> Result<Demand, Vec<String>> {
    let module = parse(label, source).map_err(|error| vec![error])?;
    let mut problems = lint(label, source, &module);
    let plain = Capabilities::empty();
    let works = |extras: &Capabilities| validate(&module, *extras).is_ok();
    let extras = [plain, Capabilities::SUBGROUP, Capabilities::SHADER_FLOAT16].into_iter().find(works).unwrap_or(plain);
    let info = validate(&module, extras).map_err(|error| {
        problems.push(error.emit_to_string_with_path(source, label));
        problems.clone()
    })?;
    problems.extend(convention(&module, inputs, outputs).into_iter().map(|problem| format!("{label}: {problem}")));
    problems.extend(translate(&module, &info, extras).into_iter().map(|problem| format!("{label}: {problem}")));
    if problems.is_empty() { Ok(demand(&module, extras)) } else { Err(problems) }
}

/// Checks all variants of a kernel: what [`check`] does, that each declares the workgroup it has, and that at least one
/// runs on default limits. Panics with the list of problems. Sound modules are dumped for Tint.
#[track_caller]
pub fn check_kernel(kernel: &Kernel) {
    let mut problems = Vec::new();
    let mut fits = false;
    for variant in &kernel.variants {
        let label = format!("{} [{}]", kernel.label, variant.name);
        match check(&label, &variant.source, kernel.inputs, kernel.outputs) {
            Ok(demand) => {
                let bytes = demand.workgroup_bytes..=demand.workgroup_storage;
                if demand.invocations != variant.workgroup_size || !bytes.contains(&variant.workgroup_bytes) {
                    problems.push(format!(
                        "{label}: declares {} invocations and {} B of workgroup memory, the module has {} and {}",
                        variant.workgroup_size, variant.workgroup_bytes, demand.invocations, demand.workgroup_bytes
                    ));
                }
                if variant.groups == 0 {
                    problems.push(format!("{label}: asks for no workgroup"));
                }
                fits |= demand.fits_default_limits();
                // Tint compiles for default limits: what exceeds them is not for browsers.
                if demand.fits_default_limits() {
                    dump(&label, &variant.source);
                }
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() && !fits {
        problems.push(format!("{}: no variant fits WebGPU's default limits", kernel.label));
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// [`check_kernel`] for all kernels of a program.
#[track_caller]
pub fn check_program(program: &Program) {
    assert!(!program.kernels.is_empty(), "{}: a program without kernels proves nothing", program.name);
    for kernel in &program.kernels {
        check_kernel(kernel);
    }
}

/// Writes a module to the folder that the Tint check reads, under a name made of label and content.
pub fn dump(label: &str, source: &str) {
    let folder = dump_folder();
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let word: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = format!("{word}-{:08x}.wgsl", hasher.finish() as u32);
    // Tests run side by side: never show half a file.
    let partial = folder.join(format!("{name}.{}", std::process::id()));
    std::fs::write(&partial, source).expect("the target folder can be written");
    std::fs::rename(&partial, folder.join(name)).expect("the target folder can be written");
}

/// `shaders/` in the target folder.
pub fn dump_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("shaders")
}

/// Where the module departs from the binding convention of `plan::program`.
fn convention(module: &Module, inputs: usize, outputs: usize) -> Vec<String> {
    let mut problems = Vec::new();
    match &module.entry_points[..] {
        [entry] if entry.name == "main" && entry.stage == ShaderStage::Compute => {}
        entries => {
            let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
            problems.push(format!("one compute entry point `main` is expected, found {names:?}"));
        }
    }
    if inputs + outputs > MAX_STORAGE_BUFFERS {
        problems.push(format!("{inputs} + {outputs} storage bindings, a default device has {MAX_STORAGE_BUFFERS}"));
    }
    let mut bound = vec![false; inputs + outputs];
    for (_, variable) in module.global_variables.iter() {
        let name = variable.name.as_deref().unwrap_or("?");
        let Some(binding) = variable.binding else { continue };
        let (group, index) = (binding.group, binding.binding as usize);
        match (group, variable.space) {
            (0, AddressSpace::Storage { access }) if index < inputs + outputs => {
                bound[index] = true;
                if access.contains(StorageAccess::STORE) != (index >= inputs) {
                    let expected = if index < inputs { "read" } else { "read_write" };
                    problems.push(format!("`{name}` at binding {index} is expected to be {expected}"));
                }
            }
            (1, AddressSpace::Uniform) if index == 0 => {
                let ty = module.types[variable.ty].name.as_deref();
                if ty != Some("Grid") {
                    problems.push(format!("group 1 binding 0 is expected to be a `Grid`, found {ty:?}"));
                }
            }
            _ => problems.push(format!(
                "`{name}` at group {group} binding {index} has no place in the convention ({inputs} inputs, {outputs} \
                 outputs)"
            )),
        }
    }
    for (index, _) in bound.iter().enumerate().filter(|(_, bound)| !**bound) {
        problems.push(format!("nothing is bound at group 0 binding {index}"));
    }
    problems
}

fn validate(module: &Module, capabilities: Capabilities) -> Result<ModuleInfo, Box<WithSpan<ValidationError>>> {
    Validator::new(ValidationFlags::all(), capabilities).validate(module).map_err(Box::new)
}

fn demand(module: &Module, extras: Capabilities) -> Demand {
    let workgroup_size = module.entry_points[0].workgroup_size;
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("validated modules have layouts");
    let shared = module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
    let sizes: Vec<u32> = shared.map(|(_, variable)| layouter[variable.ty].size).collect();
    Demand {
        invocations: workgroup_size.iter().product(),
        workgroup_size,
        workgroup_bytes: sizes.iter().sum(),
        workgroup_storage: sizes.iter().map(|size| size.next_multiple_of(16)).sum(),
        extras,
    }
}

/// Writes the module in every language that wgpu feeds to a driver; returns what failed. Subgroup operations and half
/// precision take later versions of the languages, and GLSL ES has neither.
fn translate(module: &Module, info: &ModuleInfo, extras: Capabilities) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |language: &str, outcome: Result<usize, String>| match outcome {
        Ok(0) => problems.push(format!("{language}: nothing was written")),
        Ok(_) => {}
        Err(error) => problems.push(format!("{language}: {error}")),
    };
    let entry = (ShaderStage::Compute, "main".to_owned());

    let lang_version = if extras.is_empty() { (1, 0) } else { (1, 3) };
    let target = spv::Options { lang_version, ..Default::default() };
    let options = spv::PipelineOptions { shader_stage: entry.0, entry_point: entry.1.clone() };
    let written = spv::write_vec(module, info, &target, Some(&options));
    note("SPIR-V", written.map(|words| words.len()).map_err(|error| error.to_string()));

    let options = msl::PipelineOptions { entry_point: Some(entry.clone()), ..Default::default() };
    let lang_version = if extras.is_empty() { (2, 0) } else { (2, 4) };
    let target = msl::Options { lang_version, ..Default::default() };
    let written = msl::write_string(module, info, &target, &options);
    note("MSL", written.map(|(text, _)| text.len()).map_err(|error| error.to_string()));

    let mut text = String::new();
    let options = hlsl::PipelineOptions { entry_point: Some(entry.clone()) };
    let shader_model = match extras {
        Capabilities::SUBGROUP => hlsl::ShaderModel::V6_0,
        Capabilities::SHADER_FLOAT16 => hlsl::ShaderModel::V6_2,
        _ => hlsl::ShaderModel::V5_1,
    };
    let target = hlsl::Options { shader_model, ..Default::default() };
    let written = hlsl::Writer::new(&mut text, &target, &options).write(module, info, None);
    note("HLSL", written.map(|_| text.len()).map_err(|error| error.to_string()));

    if !extras.is_empty() {
        return problems;
    }
    let mut text = String::new();
    let options = glsl::PipelineOptions { shader_stage: entry.0, entry_point: entry.1, multiview: None };
    let target = glsl::Options::default();
    let written = glsl::Writer::new(&mut text, module, info, &target, &options, BoundsCheckPolicies::default())
        .and_then(|mut writer| writer.write());
    note("GLSL ES 3.1", written.map(|_| text.len()).map_err(|error| error.to_string()));
    problems
}
