//! Choosing among the variants of a kernel by timing them once on this adapter.
//!
//! The best tile differs from card to card and from shape to shape, and no model of it is worth having. So each variant
//! that fits the device runs on scratch memory full of random numbers (zeros would flatter hardware that saves power on
//! them), and the fastest is kept, in a file if there is one: by adapter, driver and kernel family. What was found on some
//! adapters is part of the program, and spares them the timing. A run that must repeat its bits pins the choices of its first
//! start with [`Tuning::fixed`].

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use web_time::Instant;

use super::buffer::Buffer;
use super::grid::Grids;
use super::memory::alloc;
use super::pipeline::bind_tensors;
#[cfg(not(target_arch = "wasm32"))]
use super::pipeline::{Wanted, pipelines};
use super::record::{Dispatch, Recorder, parts};
use super::{AdapterInfo, Gpu};
use crate::error::{Error, Result};
use crate::graph::Scope;
#[cfg(not(target_arch = "wasm32"))]
use crate::plan::program::Command;
use crate::plan::program::{Binding, Kernel, Program, Suits, Variant};

/// Seconds of work in a timed submission: enough to drown the cost of submitting and waiting.
#[cfg(not(target_arch = "wasm32"))]
const SAMPLE: f64 = 0.008;

/// Timed submissions of a variant; their median counts.
#[cfg(not(target_arch = "wasm32"))]
const SAMPLES: usize = 3;

/// Most repetitions of a kernel in a timed submission.
#[cfg(not(target_arch = "wasm32"))]
const MOST_REPEATS: u32 = 200;

/// A variant that takes this many times the best in its first run is not looked at further.
#[cfg(not(target_arch = "wasm32"))]
const HOPELESS: f64 = 2.5;

/// Random numbers in the block that tuning buffers are filled with, over and over.
const BLOCK: usize = 1 << 18;

/// What was found best for a kernel.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Choice {
    /// Name of the variant.
    pub variant: String,
    /// Seconds it takes.
    pub seconds: f64,
    /// Names of all the variants that were timed.
    #[serde(default)]
    pub among: Vec<String>,
}

impl Choice {
    /// Whether nothing is left to be timed of the variants that fit: those that are new since, or that time was not left for,
    /// have their chance.
    #[cfg(not(target_arch = "wasm32"))]
    fn settles(&self, fitting: &[&Variant]) -> bool {
        fitting.iter().any(|one| one.name == self.variant) && fitting.iter().all(|one| self.among.contains(&one.name))
    }
}

/// How variants are chosen, and what has been chosen.
#[derive(Clone, Debug)]
pub struct Tuning {
    mode: Mode,
    known: Known,
}

/// Choices by adapter, then by kernel family.
type Known = BTreeMap<String, BTreeMap<String, Choice>>;

#[derive(Clone, Debug)]
enum Mode {
    First,
    Fixed(BTreeMap<String, String>),
    Measured {
        #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "nothing is measured there"))]
        path: Option<PathBuf>,
        budget: Duration,
    },
}

impl Tuning {
    /// No timing: the variant expected to be fastest on such a device.
    pub fn first() -> Self {
        Self { mode: Mode::First, known: Known::new() }
    }

    /// No timing: the variant that `choices` (from [`Tuning::choices`]) names for the kernel's family, where it has one
    /// that still exists and fits; else the one expected to be fastest.
    pub fn fixed(choices: BTreeMap<String, String>) -> Self {
        Self { mode: Mode::Fixed(choices), known: Known::new() }
    }

    /// Timing, remembered only as long as this value lives.
    pub fn measured() -> Self {
        Self { mode: Mode::Measured { path: None, budget: Duration::from_secs(10) }, known: Known::new() }
    }

    /// Timing, remembered in the JSON file at `path`, which need not exist. A damaged file is ignored with a message on
    /// standard error, and written anew.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let known = load(&path).unwrap_or_else(|message| {
            eprintln!("note: {}: {message}", path.display());
            Known::new()
        });
        Self { mode: Mode::Measured { path: Some(path), budget: Duration::from_secs(10) }, known }
    }

    /// The user's own tuning file: `iresnet/tuning.json` in the cache folder. `None` where there is none, as in browsers.
    pub fn default_path() -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|home| home.join("Library/Caches"))
        } else {
            variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
        };
        Some(cache?.join("iresnet").join("tuning.json"))
    }

    /// What commands use: timing, remembered in the user's own file; none with the variable `IRESNET_TUNING` = `off`, for
    /// work so short that timing would be most of it.
    pub fn usual() -> Self {
        if std::env::var_os("IRESNET_TUNING").is_some_and(|value| value == "off") {
            return Self::first();
        }
        Self::default_path().map_or_else(Self::measured, Self::open)
    }

    /// Limits the time that one [`Session::bind`](super::Session::bind) may spend on timing (10 s unless told). What is
    /// not timed by then gets the variant expected to be fastest, and is timed another time.
    pub fn with_budget(mut self, limit: Duration) -> Self {
        if let Mode::Measured { budget, .. } = &mut self.mode {
            *budget = limit;
        }
        self
    }

    /// The names of the variants chosen by timing for `gpu`, now or before they were shipped, by kernel family: what a run
    /// folder keeps.
    pub fn choices(&self, gpu: &Gpu) -> BTreeMap<String, String> {
        match &self.mode {
            Mode::First => BTreeMap::new(),
            Mode::Fixed(choices) => choices.clone(),
            Mode::Measured { .. } => {
                let own = self.known.get(&key(gpu.info()));
                let all = shipped_for(gpu.info()).into_iter().chain(own).flatten();
                all.map(|(family, choice)| (family.clone(), choice.variant.clone())).collect()
            }
        }
    }

    /// Nothing: a page that waits for timings waits too long, and nothing would remember them.
    #[cfg(target_arch = "wasm32")]
    pub async fn measure(&mut self, _: &Gpu, _: &Program) -> Result<()> {
        Ok(())
    }

    /// Times the kernels of `program` that have several variants and no choice yet. Does nothing unless this value
    /// measures. [`Session::bind`](super::Session::bind) does it by itself.
    ///
    /// # Errors
    /// [`Error::Gpu`] if a variant does not compile, or the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn measure(&mut self, gpu: &Gpu, program: &Program) -> Result<()> {
        let Mode::Measured { path, budget } = &self.mode else { return Ok(()) };
        let (path, budget) = (path.clone(), *budget);
        let start = Instant::now();
        let key = key(gpu.info());
        let mut found = BTreeMap::new();
        let mut seen = HashSet::new();
        for (index, kernel) in program.kernels.iter().enumerate() {
            let fitting = candidates(gpu, kernel);
            let is_settled = self.known(gpu, &kernel.family).is_some_and(|choice| choice.settles(&fitting));
            if is_settled || fitting.len() < 2 || !seen.insert(&kernel.family) || start.elapsed() > budget {
                continue;
            }
            let Some(bindings) = example(&program.commands, index) else { continue };
            let deadline = start + budget;
            if let Some(choice) = fastest(gpu, kernel, &fitting, bindings, deadline).await? {
                found.insert(kernel.family.clone(), choice);
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        if let Some(path) = &path {
            // Others may have written meanwhile: keep what they found.
            for (adapter, choices) in load(path).unwrap_or_default() {
                let known = self.known.entry(adapter).or_default();
                for (label, choice) in choices {
                    let known = known.entry(label).or_insert_with(|| choice.clone());
                    if known.among.len() < choice.among.len() {
                        *known = choice;
                    }
                }
            }
        }
        self.known.entry(key).or_default().extend(found);
        if let Some(path) = &path
            && let Err(error) = save(path, &self.known)
        {
            eprintln!("note: {}: tuning results are not kept: {error}", path.display());
        }
        Ok(())
    }

    /// The variant of `kernel` to use.
    pub(super) fn choose<'a>(&self, gpu: &Gpu, kernel: &'a Kernel) -> Result<&'a Variant> {
        let chosen = match &self.mode {
            Mode::First => None,
            Mode::Fixed(choices) => choices.get(&kernel.family),
            Mode::Measured { .. } => self.known(gpu, &kernel.family).map(|choice| &choice.variant),
        };
        let named = kernel.variants.iter().find(|variant| Some(&variant.name) == chosen && fits(gpu, variant));
        named.or_else(|| candidates(gpu, kernel).first().copied()).ok_or_else(|| {
            let limits = gpu.limits();
            Error::Gpu(format!(
                "no variant of kernel `{}` fits {}, which allows {} invocations and {} bytes in a workgroup",
                kernel.label,
                gpu.info(),
                limits.invocations,
                limits.workgroup_bytes
            ))
        })
    }

    /// How long the kernel takes, if it was timed.
    pub(super) fn seconds(&self, gpu: &Gpu, label: &str) -> Option<f64> {
        self.own(gpu, label).map(|choice| choice.seconds)
    }

    /// What is known of a kernel: what was found here, or else what came with the program.
    fn known(&self, gpu: &Gpu, family: &str) -> Option<&Choice> {
        self.own(gpu, family).or_else(|| shipped_for(gpu.info())?.get(family))
    }

    fn own(&self, gpu: &Gpu, family: &str) -> Option<&Choice> {
        self.known.get(&key(gpu.info()))?.get(family)
    }
}

/// What choices depend on besides the kernel.
fn key(info: &AdapterInfo) -> String {
    format!("{} | {} | {}", info.backend, info.name, info.driver)
}

/// What tuning found on the adapters it has been run on, by backend and name of the adapter, then by kernel family. Written by
/// `examples/ship_tuning.rs`.
#[cfg(not(target_arch = "wasm32"))]
const SHIPPED: &str = include_str!("tuned.json");

/// The choices that are part of the program for such an adapter.
#[cfg(not(target_arch = "wasm32"))]
fn shipped_for(info: &AdapterInfo) -> Option<&'static BTreeMap<String, Choice>> {
    static TABLE: std::sync::LazyLock<Known> =
        std::sync::LazyLock::new(|| serde_json::from_str(SHIPPED).expect("a test reads the table"));
    TABLE.get(&format!("{} | {}", info.backend, info.name))
}

/// Nothing is tuned in browsers.
#[cfg(target_arch = "wasm32")]
fn shipped_for(_: &AdapterInfo) -> Option<&'static BTreeMap<String, Choice>> {
    None
}

fn fits(gpu: &Gpu, variant: &Variant) -> bool {
    let limits = gpu.limits();
    variant.workgroup_size <= limits.invocations
        && variant.workgroup_bytes <= limits.workgroup_bytes
        && variant.suits.allows(gpu.subgroup(), gpu.info().f16)
}

/// The variants that fit and are worth trying, the one to use untried first.
fn candidates<'a>(gpu: &Gpu, kernel: &'a Kernel) -> Vec<&'a Variant> {
    let mut fitting: Vec<&Variant> = kernel.variants.iter().filter(|variant| fits(gpu, variant)).collect();
    if !gpu.info().is_software {
        fitting.sort_by_key(|variant| variant.suits == Suits::Processors);
    } else if fitting.iter().any(|variant| matches!(variant.suits, Suits::Subgroups(_))) {
        // These do what the others do with fewer loads.
        fitting.retain(|variant| variant.suits != Suits::Processors);
    }
    fitting
}

/// Bindings with which a command runs the kernel.
#[cfg(not(target_arch = "wasm32"))]
fn example(commands: &[Command], kernel: usize) -> Option<&[Binding]> {
    commands.iter().find_map(|command| match command {
        Command::Dispatch { kernel: this, bindings, .. } => (*this == kernel).then_some(bindings.as_slice()),
        Command::Loop { body, .. } => example(body, kernel),
        Command::Copy { .. } => None,
    })
}

/// Times the variants. `None` if the deadline passed before two of them were timed.
#[cfg(not(target_arch = "wasm32"))]
async fn fastest(
    gpu: &Gpu,
    kernel: &Kernel,
    variants: &[&Variant],
    bindings: &[Binding],
    deadline: Instant,
) -> Result<Option<Choice>> {
    let wanted = |variant: &&Variant| Wanted {
        label: format!("{} {}", kernel.label, variant.name),
        source: variant.source.clone(),
        inputs: kernel.inputs,
        outputs: kernel.outputs,
    };
    let wanted: Vec<Wanted> = variants.iter().map(wanted).collect();
    let pipelines = pipelines(gpu, &wanted).await?;
    let bench = Bench::new(gpu, kernel, bindings)?;
    let mut best: Option<Choice> = None;
    for (number, (variant, pipeline)) in variants.iter().zip(&pipelines).enumerate() {
        if Instant::now() > deadline {
            // The best of some is no worse than the first.
            return Ok(if number < 2 { None } else { best });
        }
        let limit = best.as_ref().map_or(f64::INFINITY, |best| HOPELESS * best.seconds);
        let seconds = bench.time(variant.groups, pipeline, limit).await?;
        let among = variants[..=number].iter().map(|variant| variant.name.clone()).collect();
        match &mut best {
            Some(best) if best.seconds <= seconds => best.among = among,
            _ => best = Some(Choice { variant: variant.name.clone(), seconds, among }),
        }
    }
    Ok(best)
}

/// Scratch memory to time a kernel on.
pub(super) struct Bench<'a> {
    gpu: &'a Gpu,
    tensors: wgpu::BindGroup,
    /// What the bind group refers to.
    _buffers: Vec<Buffer>,
    /// Estimated seconds of a run.
    guess: f64,
}

impl<'a> Bench<'a> {
    /// Makes tensors like `bindings`, random.
    pub(super) fn new(gpu: &'a Gpu, kernel: &Kernel, bindings: &[Binding]) -> Result<Self> {
        let noise = noise(BLOCK);
        let noise: &[u8] = bytemuck::cast_slice(&noise);
        let mut buffers = Vec::with_capacity(bindings.len());
        for (number, binding) in bindings.iter().enumerate() {
            let buffer = alloc(gpu, "tuning buffer", &kernel.label, binding.bytes, wgpu::BufferUsages::empty())?;
            // What a kernel only writes may begin as zero.
            let is_read = number < kernel.inputs.max(1);
            for offset in (0..binding.bytes).step_by(noise.len()).filter(|_| is_read) {
                gpu.upload(&buffer, offset, &noise[..noise.len().min((binding.bytes - offset) as usize)]);
            }
            buffers.push(buffer);
        }
        // Bound as long as in earnest, though a buffer may be longer.
        let ranges: Vec<_> = buffers.iter().zip(bindings).map(|(buffer, range)| (buffer, 0, range.bytes)).collect();
        let tensors = bind_tensors(gpu, "tuning", kernel.inputs, &ranges);
        Ok(Self { gpu, tensors, _buffers: buffers, guess: gpu.rate().seconds(kernel.flops, kernel.traffic) })
    }

    /// Seconds of one run: the median of a few samples, or the first measurement if that exceeds `limit`.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) async fn time(&self, groups: u32, pipeline: &wgpu::ComputePipeline, limit: f64) -> Result<f64> {
        // The first run pays for whatever the driver puts off.
        let mut seconds = self.sample(groups, pipeline, 1).await?;
        if seconds > 4.0 * limit {
            return Ok(seconds);
        }
        seconds = self.sample(groups, pipeline, 1).await?;
        if seconds > limit {
            return Ok(seconds);
        }
        let repeats = (SAMPLE / seconds.max(1e-9)).ceil().clamp(1.0, f64::from(MOST_REPEATS)) as u32;
        let mut samples = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            samples.push(self.sample(groups, pipeline, repeats).await?);
        }
        samples.sort_by(f64::total_cmp);
        Ok(samples[SAMPLES / 2])
    }

    /// Seconds of one run, as the mean of `repeats` in one submission.
    pub(super) async fn sample(&self, groups: u32, pipeline: &wgpu::ComputePipeline, repeats: u32) -> Result<f64> {
        let mut grids = Grids::new();
        let mut parts = parts(groups, self.guess, self.gpu.limits().groups_per_axis);
        grids.place(&mut parts, groups);
        let (grid, _buffer) = grids.bind(self.gpu);
        let (pipeline, tensors) = (pipeline.clone(), self.tensors.clone());
        let dispatch = Dispatch { kernel: 0, scope: Scope::default(), pipeline, tensors, parts };
        self.gpu.idle().await?;
        let start = Instant::now();
        let mut recorder = Recorder::new(self.gpu, "tuning", &grid);
        for _ in 0..repeats {
            recorder.dispatch(&dispatch, None);
        }
        recorder.submit();
        self.gpu.idle().await?;
        Ok(start.elapsed().as_secs_f64() / f64::from(repeats))
    }
}

/// Random numbers between -1 and 1.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as i32 as f32 / 2_147_483_648.0
    };
    (0..len).map(|_| next()).collect()
}

/// Reads a tuning file. A file that is not there has nothing in it.
fn load(path: &Path) -> Result<Known, String> {
    match std::fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| format!("damaged tuning results are ignored: {error}"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Known::new()),
        Err(error) => Err(format!("tuning results cannot be read: {error}")),
    }
}

/// Writes a tuning file: all of it or nothing.
#[cfg(not(target_arch = "wasm32"))]
fn save(path: &Path, known: &Known) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, serde_json::to_vec_pretty(known)?)?;
    std::fs::rename(&temporary, path).inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_choices_are_variants_of_their_family() {
        let table: Known = serde_json::from_str(SHIPPED).unwrap();
        assert!(!table.is_empty());
        for (adapter, choices) in &table {
            assert_eq!(adapter.split(" | ").count(), 2, "{adapter}: a backend and a name");
            for (family, Choice { variant, among, .. }) in choices {
                assert!(among.contains(variant), "{adapter}: {family} by {variant}, which was not timed");
                let of_subgroups = variant.starts_with("subgroup") || variant == "rows";
                assert!(!of_subgroups || adapter.contains("256 bits"), "{adapter}: {family} by {variant}");
                assert!(variant != "rows" || family.contains(" 3×3 "), "{adapter}: {family} by {variant}");
            }
        }
    }
}
