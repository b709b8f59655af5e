//! Which Vulkan drivers this machine has, told from their manifests.
//!
//! The Vulkan loader finds drivers through JSON manifests in well-known folders, or those that `VK_DRIVER_FILES` names
//! instead. macOS and Windows bring Metal and DX12 with them, so there nothing is needed.

use crate::machine::Machine;
use std::path::PathBuf;

/// Folders in which the loader looks for manifests.
const FOLDERS: &[&str] = &["/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d"];

/// Where Chromium's packages put the manifest of the software driver that they bring.
const SWIFTSHADER: &[&str] = &[
    "/usr/lib/chromium/vk_swiftshader_icd.json",
    "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
    "/usr/lib64/chromium-browser/vk_swiftshader_icd.json",
    "/opt/google/chrome/vk_swiftshader_icd.json",
];

/// The drivers found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Drivers {
    /// Manifests in the loader's folders, or those the user lists.
    pub(crate) installed: Vec<PathBuf>,
    /// Whether the user lists them: then they are taken as they are.
    pub(crate) listed: bool,
    /// The manifest of SwiftShader, which the loader does not find by itself.
    pub(crate) swiftshader: Option<PathBuf>,
    /// Whether there is a device node of a GPU.
    pub(crate) hardware: bool,
    /// Whether the Vulkan loader library is there.
    pub(crate) loader: bool,
}

impl Drivers {
    pub(crate) fn find(machine: &Machine) -> Self {
        let listed = machine.variable("VK_DRIVER_FILES").or(machine.variable("VK_ICD_FILENAMES"));
        let installed = match listed {
            Some(list) => std::env::split_paths(list).filter(|path| machine.path(path).exists()).collect(),
            None => {
                let home = machine.variable("HOME").map(|home| format!("{home}/.local/share/vulkan/icd.d"));
                let folders = FOLDERS.iter().map(|folder| (*folder).to_owned()).chain(home);
                let files = folders.flat_map(|folder| machine.list(folder));
                files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
            }
        };
        let swiftshader = SWIFTSHADER.iter().map(|path| machine.path(path)).find(|path| path.is_file());
        Self {
            installed,
            listed: listed.is_some(),
            swiftshader,
            hardware: has_gpu(machine),
            loader: has_loader(machine),
        }
    }

    /// Manifests of Mesa's software driver.
    fn lavapipe(&self) -> Vec<PathBuf> {
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.installed.iter().filter(|path| name(path).starts_with("lvp_icd")).cloned().collect()
    }

    /// Whether a program can open an adapter without further ado. A manifest of a hardware driver without a device is
    /// of no use: Mesa's package brings some of them to every machine.
    pub(crate) fn usable(&self) -> bool {
        let driver = self.hardware || self.listed || !self.lavapipe().is_empty();
        self.loader && driver && !self.installed.is_empty()
    }

    /// The value of `VK_DRIVER_FILES` under which tests meet as many drivers as possible: the hardware's, if there is
    /// any, Mesa's software driver and SwiftShader. `None` where there is nothing to list.
    pub(crate) fn for_tests(&self) -> Option<String> {
        let mut files = if self.hardware || self.listed { self.installed.clone() } else { self.lavapipe() };
        files.extend(self.swiftshader.clone().filter(|_| !self.listed));
        let joined = std::env::join_paths(files).ok()?.into_string().ok()?;
        Some(joined).filter(|joined| !joined.is_empty())
    }

    /// The value of `VK_DRIVER_FILES` for a user's program: none as long as the loader finds a driver by itself.
    pub(crate) fn for_programs(&self) -> Option<String> {
        if self.usable() || !self.loader {
            return None;
        }
        self.swiftshader.as_ref().map(|path| path.display().to_string())
    }
}

fn has_gpu(machine: &Machine) -> bool {
    let render = machine.list("/dev/dri").iter().any(|path| path.to_string_lossy().contains("renderD"));
    render || machine.path("/dev/nvidia0").exists() || machine.path("/dev/dxg").exists()
}

fn has_loader(machine: &Machine) -> bool {
    let mut folders = vec![machine.path("/usr/lib64"), machine.path("/usr/lib"), machine.path("/usr/local/lib")];
    folders.extend(machine.list("/usr/lib").into_iter().filter(|path| path.is_dir()));
    folders.iter().any(|folder| folder.join("libvulkan.so.1").exists())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    const LOADER: (&str, &str) = ("/usr/lib/x86_64-linux-gnu/libvulkan.so.1", "");
    const LAVAPIPE: (&str, &str) = ("/usr/share/vulkan/icd.d/lvp_icd.x86_64.json", "{}");
    const RADEON: (&str, &str) = ("/usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "{}");
    const CHROMIUM: (&str, &str) = ("/usr/lib/chromium/vk_swiftshader_icd.json", "{}");
    const RENDER: (&str, &str) = ("/dev/dri/renderD128", "");

    fn names(list: Option<String>) -> Vec<String> {
        let list = list.unwrap_or_default();
        let files = std::env::split_paths(&list);
        files.map(|path| path.file_name().expect("a file").to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_bare_machine_has_nothing() {
        let fake = Fake::new("bare", &[], &[]);
        let drivers = Drivers::find(&fake.0);
        assert_eq!(drivers, Drivers::default());
        assert!(!drivers.usable());
        assert_eq!((drivers.for_tests(), drivers.for_programs()), (None, None));
    }

    #[test]
    fn software_drivers_are_listed_together() {
        let fake = Fake::new("software", &[LOADER, LAVAPIPE, RADEON, CHROMIUM], &[]);
        let drivers = Drivers::find(&fake.0);
        assert!(drivers.usable());
        // No device: the hardware driver would only be probed in vain.
        assert_eq!(names(drivers.for_tests()), ["lvp_icd.x86_64.json", "vk_swiftshader_icd.json"]);
        assert_eq!(drivers.for_programs(), None);
    }

    #[test]
    fn hardware_is_not_hidden() {
        let fake = Fake::new("hardware", &[LOADER, LAVAPIPE, RADEON, CHROMIUM, RENDER], &[]);
        let files = names(Drivers::find(&fake.0).for_tests());
        assert_eq!(files, ["lvp_icd.x86_64.json", "radeon_icd.x86_64.json", "vk_swiftshader_icd.json"]);
    }

    #[test]
    fn manifests_of_absent_hardware_do_not_count() {
        let fake = Fake::new("absent", &[LOADER, RADEON], &[]);
        assert!(!Drivers::find(&fake.0).usable());
    }

    #[test]
    fn the_browsers_driver_serves_when_there_is_no_other() {
        let fake = Fake::new("browser", &[LOADER, CHROMIUM], &[]);
        let drivers = Drivers::find(&fake.0);
        assert!(!drivers.usable());
        assert_eq!(names(drivers.for_programs()), ["vk_swiftshader_icd.json"]);
    }

    #[test]
    fn a_list_of_the_user_stands() {
        let own = ("/opt/driver/own.json", "{}");
        let fake = Fake::new(
            "listed",
            &[LOADER, LAVAPIPE, CHROMIUM, own],
            &[("VK_DRIVER_FILES", "/opt/driver/own.json:/gone.json")],
        );
        let drivers = Drivers::find(&fake.0);
        assert!(drivers.usable());
        assert_eq!(names(drivers.for_tests()), ["own.json"]);
    }
}
