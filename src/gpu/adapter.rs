//! Which adapters there are, and which one to use.
//!
//! An adapter is one way to reach a card: the same card appears once per backend (Vulkan and OpenGL, say). Every
//! adapter has a stable id such as `vulkan:0`; the later appearances of a card are marked
//! [`AdapterInfo::duplicate_of`], so that nobody trains on one card twice believing it to be two. Adapters that only
//! compute on the CPU are chosen by themselves only where there is nothing else.
//!
//! Not done: ranking by measured speed. A discrete card is preferred to an integrated one, and a native backend to
//! OpenGL; whoever knows better names the adapter.

use std::fmt;

use crate::error::{Error, Result};

/// What kind of device an adapter is; in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A card with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A virtual machine's view of a GPU.
    Virtual,
    /// Unknown: browsers do not tell.
    Other,
    /// An emulation on the CPU.
    Software,
}

/// What a device allows, as far as this crate cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// Bytes of the largest buffer.
    pub buffer_bytes: u64,
    /// Bytes of the largest range bound to a kernel.
    pub binding_bytes: u64,
    /// Storage buffers a kernel may bind.
    pub storage_buffers: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations in a workgroup, all of them along x.
    pub invocations: u32,
    /// Workgroups along one axis of a dispatch.
    pub groups_per_axis: u32,
}

impl Limits {
    pub(super) fn of(limits: &wgpu::Limits) -> Self {
        Self {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            groups_per_axis: limits.max_compute_workgroups_per_dimension,
        }
    }
}

/// Description of an adapter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AdapterInfo {
    /// Backend and number within it, such as `vulkan:0`: what `--adapter` takes.
    pub id: String,
    /// The card's name, as the driver gives it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl` or `webgpu`.
    pub backend: String,
    /// The driver's name and version.
    pub driver: String,
    /// Kind of device.
    pub kind: DeviceKind,
    /// Whether this adapter computes on the CPU.
    pub is_software: bool,
    /// Id of the preferred adapter of the same card, where this is another way to reach it.
    pub duplicate_of: Option<String>,
    /// Whether it can run this crate's kernels at all: compute shaders and indirect dispatch.
    pub suitable: bool,
    /// Bytes of memory it has in all, where the driver tells.
    pub memory_bytes: Option<u64>,
    /// What it allows.
    pub limits: Limits,
    /// Whether kernels can compute in half precision, as [`Precision::F16`](crate::ops::conv2d::Precision) lets them.
    pub f16: bool,
    /// PCI vendor, PCI device and bus id as far as the driver tells; they say which adapters are the same card.
    #[serde(skip)]
    card: (u32, u32, String),
}

impl AdapterInfo {
    pub(super) fn of(
        info: &wgpu::AdapterInfo,
        id: String,
        limits: &wgpu::Limits,
        features: wgpu::Features,
        suitable: bool,
    ) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
            wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
            wgpu::DeviceType::Cpu => DeviceKind::Software,
            wgpu::DeviceType::Other if is_software_name(&info.name) => DeviceKind::Software,
            wgpu::DeviceType::Other => DeviceKind::Other,
        };
        Self {
            id,
            name: info.name.clone(),
            backend: backend_name(info.backend).into(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
            kind,
            is_software: kind == DeviceKind::Software,
            duplicate_of: None,
            suitable,
            memory_bytes: None,
            limits: Limits::of(limits),
            f16: features.contains(wgpu::Features::SHADER_F16),
            card: (info.vendor, info.device, info.device_pci_bus_id.clone()),
        }
    }

    /// Order of preference: the smaller, the better.
    fn rank(&self) -> (bool, DeviceKind, u8) {
        let backend = match self.backend.as_str() {
            // Of two emulations, llvmpipe has four times the speed.
            "vulkan" if self.name.contains("SwiftShader") => 1,
            "vulkan" | "metal" | "webgpu" => 0,
            "dx12" => 1,
            _ => 2,
        };
        (!self.suitable, self.kind, backend)
    }

    /// Whether `other` may be the same card seen through another backend.
    fn same_card(&self, other: &Self) -> bool {
        let ((vendor, device, bus), (other_vendor, other_device, other_bus)) = (&self.card, &other.card);
        if self.backend == other.backend {
            return false;
        }
        if !bus.is_empty() && !other_bus.is_empty() {
            return bus == other_bus;
        }
        // OpenGL knows names only, and decorates them: `NAME (driver, …)`, `NAME/PCIe/SSE2`.
        let plain = |name: &str| name.split(['(', '/']).next().unwrap_or_default().trim().to_lowercase();
        let same_ids = (vendor, device) == (other_vendor, other_device) && *device != 0;
        same_ids || plain(&self.name) == plain(&other.name)
    }
}

impl fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.id, self.name, self.driver)
    }
}

/// An adapter ready to be opened with [`Gpu::open_adapter`](super::Gpu::open_adapter).
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(super) handle: wgpu::Adapter,
    pub(super) info: AdapterInfo,
}

impl Adapter {
    /// What is known of it.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }
}

/// Lists every adapter of every backend, the preferred ones first. In a browser, the one that it offers.
pub async fn adapters() -> Vec<Adapter> {
    let instance = instance();
    let handles = if cfg!(target_arch = "wasm32") {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        instance.request_adapter(&options).await.into_iter().collect()
    } else {
        instance.enumerate_adapters(wgpu::Backends::all()).await
    };
    let mut list: Vec<Adapter> = Vec::new();
    for handle in handles {
        let info = handle.get_info();
        let number = list.iter().filter(|other| other.info.backend == backend_name(info.backend)).count();
        let needs = wgpu::DownlevelFlags::COMPUTE_SHADERS | wgpu::DownlevelFlags::INDIRECT_EXECUTION;
        let suitable = handle.get_downlevel_capabilities().flags.contains(needs);
        let id = format!("{}:{number}", backend_name(info.backend));
        let memory_bytes = super::heap::memory_bytes(&handle);
        let info = AdapterInfo::of(&info, id, &handle.limits(), handle.features(), suitable);
        let info = AdapterInfo { memory_bytes, ..info };
        list.push(Adapter { handle, info });
    }
    list.sort_by_key(|adapter| adapter.info.rank());
    let mut infos: Vec<AdapterInfo> = list.iter().map(|adapter| adapter.info.clone()).collect();
    mark_duplicates(&mut infos);
    for (adapter, info) in list.iter_mut().zip(infos) {
        adapter.info = info;
    }
    list
}

/// Marks each adapter whose card an earlier one already reaches. A card stands once in a backend, so the second of two
/// equal cards pairs with the second adapter of the other backend.
fn mark_duplicates(infos: &mut [AdapterInfo]) {
    for index in 0..infos.len() {
        let (before, rest) = infos.split_at_mut(index);
        let this = &mut rest[0];
        let taken = |id: &str| {
            before.iter().any(|other| other.backend == this.backend && other.duplicate_of.as_deref() == Some(id))
        };
        let first = before
            .iter()
            .find(|other| other.duplicate_of.is_none() && other.same_card(this) && !taken(&other.id))
            .map(|other| other.id.clone());
        this.duplicate_of = first;
    }
}

/// Chooses from [`adapters`]: by id (`vulkan:0`), backend (`gl`), number in the list, or part of the name; the first
/// of several that match. Without a selector, the variable `WGPU_ADAPTER_NAME` is one; without that, the preferred
/// adapter.
///
/// # Errors
/// [`Error::NoAdapter`] listing what there is, or saying what to install where there is nothing.
pub async fn choose(selector: Option<&str>) -> Result<Adapter> {
    let list = adapters().await;
    let variable = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.trim().is_empty());
    let infos: Vec<&AdapterInfo> = list.iter().map(Adapter::info).collect();
    let index = find(&infos, selector.or(variable.as_deref()))?;
    Ok(list[index].clone())
}

/// Chooses several from [`adapters`]: `all`, or one for each selector as [`choose`] takes them; without any, the preferred
/// one. Each card is taken once, by the adapter named first; `all` leaves out software adapters unless there is nothing
/// else. Also notes of what was left out.
///
/// # Errors
/// As [`choose`].
pub async fn choose_several(selectors: &[String]) -> Result<(Vec<Adapter>, Vec<String>)> {
    if selectors.is_empty() {
        return Ok((vec![choose(None).await?], Vec::new()));
    }
    let list = adapters().await;
    let infos: Vec<&AdapterInfo> = list.iter().map(Adapter::info).collect();
    let (chosen, notes) = find_several(&infos, selectors)?;
    Ok((chosen.into_iter().map(|index| list[index].clone()).collect(), notes))
}

/// The indices of the adapters that `selectors` mean.
fn find_several(infos: &[&AdapterInfo], selectors: &[String]) -> Result<(Vec<usize>, Vec<String>)> {
    let mut wanted = Vec::new();
    for selector in selectors {
        if !selector.trim().eq_ignore_ascii_case("all") {
            wanted.push(find(infos, Some(selector))?);
            continue;
        }
        let usable = |index: &usize| infos[*index].suitable && infos[*index].duplicate_of.is_none();
        let hardware: Vec<usize> = (0..infos.len()).filter(usable).filter(|&index| !infos[index].is_software).collect();
        let all = if hardware.is_empty() { (0..infos.len()).filter(usable).collect() } else { hardware };
        wanted.extend(all);
    }
    if wanted.is_empty() {
        return Err(Error::NoAdapter(nothing(infos)));
    }
    let (mut chosen, mut notes): (Vec<usize>, Vec<String>) = (Vec::new(), Vec::new());
    // What an adapter is another way to reach, or itself.
    let card = |index: usize| infos[index].duplicate_of.as_ref().unwrap_or(&infos[index].id);
    for index in wanted {
        match chosen.iter().find(|&&other| card(other) == card(index)) {
            None => chosen.push(index),
            Some(&other) if other == index => {}
            Some(&other) => notes.push(format!(
                "note: {} is the same card as {}, which is used alone",
                infos[index].id, infos[other].id
            )),
        }
    }
    Ok((chosen, notes))
}

/// The index of the adapter that `selector` means.
fn find(infos: &[&AdapterInfo], selector: Option<&str>) -> Result<usize> {
    let suitable = |index: &usize| infos[*index].suitable;
    let mut all = 0..infos.len();
    let Some(selector) = selector.map(|text| text.trim().to_lowercase()) else {
        return all.find(suitable).ok_or_else(|| Error::NoAdapter(nothing(infos)));
    };
    let number = selector.parse::<usize>().ok();
    let by_id = all.clone().find(|&index| infos[index].id == selector || number == Some(index));
    let by_backend = || all.clone().filter(suitable).find(|&index| infos[index].backend == selector);
    let by_name = || all.clone().filter(suitable).find(|&index| infos[index].name.to_lowercase().contains(&selector));
    match by_id.or_else(by_backend).or_else(by_name) {
        Some(index) if infos[index].suitable => Ok(index),
        Some(index) => Err(Error::NoAdapter(format!(
            "adapter {} cannot run compute shaders with indirect dispatch; choose another\n{}",
            infos[index],
            listing(infos)
        ))),
        None if infos.is_empty() => Err(Error::NoAdapter(nothing(infos))),
        None => Err(Error::NoAdapter(format!("no adapter matches `{selector}`\n{}", listing(infos)))),
    }
}

/// The adapters, one a line.
fn listing(infos: &[&AdapterInfo]) -> String {
    let lines: Vec<String> = infos.iter().map(|info| format!("  {info}")).collect();
    format!("there is:\n{}\nname one by its id, its backend, its place in this list from 0, or a part of its name", {
        lines.join("\n")
    })
}

/// What to say where no adapter will do.
fn nothing(infos: &[&AdapterInfo]) -> String {
    let cure = if cfg!(target_arch = "wasm32") {
        "this browser offers no WebGPU adapter: use a current Chrome, Edge, Safari or Firefox with hardware \
         acceleration switched on"
    } else if cfg!(target_os = "linux") {
        "install the card's Vulkan driver, or a software one (Debian, Ubuntu: apt-get install mesa-vulkan-drivers \
         libvulkan1; Fedora: dnf install mesa-vulkan-drivers)"
    } else {
        "install the driver of your graphics card (Vulkan or DirectX 12; on macOS, Metal is part of the system)"
    };
    if infos.is_empty() {
        format!("no graphics adapter found: {cure}")
    } else {
        format!("no adapter here can run compute shaders: {cure}\n{}", listing(infos))
    }
}

/// Drivers that do not say that they are software.
fn is_software_name(name: &str) -> bool {
    let name = name.to_lowercase();
    ["llvmpipe", "swiftshader", "softpipe", "lavapipe", "basic render"].iter().any(|part| name.contains(part))
}

/// The backend's name in ids.
pub(super) fn backend_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Noop => "noop",
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
    }
}

/// The wgpu instance, with the checks of release builds in every build; `WGPU_BACKEND`, `WGPU_DEBUG` and
/// `WGPU_VALIDATION` have their usual effect.
pub(super) fn instance() -> wgpu::Instance {
    // The arguments of our indirect dispatches are ours, so wgpu need not check them with a dispatch of its own before
    // each. DX12 is the exception: it gets `num_workgroups`, which kernels use, from that very check.
    let indirect = wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL;
    let flags = if cfg!(windows) { indirect } else { wgpu::InstanceFlags::empty() };
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = flags.with_env();
    descriptor.backends = wgpu::Backends::all().with_env();
    wgpu::Instance::new(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str, name: &str, kind: DeviceKind, card: (u32, u32, &str)) -> AdapterInfo {
        let (backend, _) = id.split_once(':').unwrap();
        AdapterInfo {
            id: id.into(),
            name: name.into(),
            backend: backend.into(),
            driver: "driver 1.0".into(),
            kind,
            is_software: kind == DeviceKind::Software,
            duplicate_of: None,
            suitable: true,
            memory_bytes: None,
            limits: Limits::of(&wgpu::Limits::default()),
            f16: false,
            card: (card.0, card.1, card.2.into()),
        }
    }

    fn machine() -> Vec<AdapterInfo> {
        let mut infos = vec![
            info("gl:0", "NVIDIA GeForce RTX 3080/PCIe/SSE2", DeviceKind::Other, (0x10de, 0, "")),
            info("vulkan:0", "llvmpipe (LLVM 19, 256 bits)", DeviceKind::Software, (0x10005, 0, "")),
            info("vulkan:1", "NVIDIA GeForce RTX 3080", DeviceKind::Discrete, (0x10de, 0x2206, "0000:01:00.0")),
            info("vulkan:2", "NVIDIA GeForce RTX 3080", DeviceKind::Discrete, (0x10de, 0x2206, "0000:02:00.0")),
            info("dx12:0", "NVIDIA GeForce RTX 3080", DeviceKind::Discrete, (0x10de, 0x2206, "")),
            info("dx12:1", "NVIDIA GeForce RTX 3080", DeviceKind::Discrete, (0x10de, 0x2206, "")),
        ];
        infos.sort_by_key(AdapterInfo::rank);
        mark_duplicates(&mut infos);
        infos
    }

    #[test]
    fn one_card_through_three_backends_is_one() {
        let infos = machine();
        let of = |id: &str| infos.iter().find(|info| info.id == id).unwrap().duplicate_of.clone();
        assert_eq!(of("vulkan:1"), None);
        assert_eq!(of("vulkan:2"), None, "two equal cards are two");
        assert_eq!(of("dx12:0").as_deref(), Some("vulkan:1"));
        assert_eq!(of("dx12:1").as_deref(), Some("vulkan:2"), "the second pairs with the second");
        assert_eq!(of("gl:0").as_deref(), Some("vulkan:1"), "OpenGL decorates the name");
        assert_eq!(of("vulkan:0"), None);
    }

    #[test]
    fn selectors() {
        let infos = machine();
        let infos: Vec<&AdapterInfo> = infos.iter().collect();
        let chosen = |selector| find(&infos, selector).map(|index| infos[index].id.clone());
        assert_eq!(chosen(None).unwrap(), "vulkan:1", "the first discrete card on a native backend");
        assert_eq!(chosen(Some("gl")).unwrap(), "gl:0");
        assert_eq!(chosen(Some(" VULKAN:2 ")).unwrap(), "vulkan:2");
        assert_eq!(chosen(Some("LLVMpipe")).unwrap(), "vulkan:0");
        assert_eq!(chosen(Some("1")).unwrap(), infos[1].id);
        let error = chosen(Some("radeon")).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("radeon") && error.to_string().contains("vulkan:2"), "{error}");
        let error = find(&[], None).unwrap_err();
        assert!(error.to_string().contains("install") && error.exit_code() == 4, "{error}");
    }

    #[test]
    fn several_are_each_card_once_and_software_only_by_name() {
        let infos = machine();
        let infos: Vec<&AdapterInfo> = infos.iter().collect();
        let chosen = |selectors: &[&str]| {
            let selectors: Vec<String> = selectors.iter().map(|&text| text.into()).collect();
            find_several(&infos, &selectors).map(|(chosen, notes)| {
                (chosen.into_iter().map(|index| infos[index].id.as_str()).collect::<Vec<_>>(), notes.len())
            })
        };
        assert_eq!(chosen(&["all"]).unwrap(), (vec!["vulkan:1", "vulkan:2"], 0));
        assert_eq!(chosen(&["all", "vulkan:0"]).unwrap(), (vec!["vulkan:1", "vulkan:2", "vulkan:0"], 0));
        assert_eq!(chosen(&["dx12:0", "vulkan:1", "gl:0"]).unwrap(), (vec!["dx12:0"], 2), "one card three ways");
        assert_eq!(chosen(&["vulkan:2", "vulkan:2"]).unwrap(), (vec!["vulkan:2"], 0));
        assert_eq!(chosen(&["vulkan:1", "radeon"]).unwrap_err().exit_code(), 4);
        let software: Vec<&AdapterInfo> = infos.iter().copied().filter(|info| info.is_software).collect();
        let (all, _) = find_several(&software, &["all".into()]).unwrap();
        assert_eq!(all.len(), 1, "there is nothing else");
        assert_eq!(find_several(&[], &["all".into()]).unwrap_err().exit_code(), 4);
    }

    #[test]
    fn software_and_unsuitable_adapters_come_last() {
        let mut unsuitable = info("gl:0", "Old card", DeviceKind::Discrete, (1, 1, ""));
        unsuitable.suitable = false;
        let software = info("vulkan:0", "llvmpipe", DeviceKind::Software, (2, 0, ""));
        let mut infos = [unsuitable, software];
        infos.sort_by_key(AdapterInfo::rank);
        assert_eq!(infos[0].id, "vulkan:0");
        let infos: Vec<&AdapterInfo> = infos.iter().collect();
        assert_eq!(find(&infos, None).unwrap(), 0);
        assert!(find(&infos, Some("gl:0")).unwrap_err().to_string().contains("cannot run"));
        assert!(find(&infos[1..], None).unwrap_err().to_string().contains("install"));
    }
}
