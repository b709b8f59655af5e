//! Sees to the packages that a task needs: a Vulkan driver, and for tests a browser.
//!
//! A machine that has them is left alone. Otherwise, on Debian and its relatives, given root (or passwordless sudo) and
//! consent, they are installed with apt; every command is shown before it runs. Anywhere else the task says what to
//! install, and goes on with what is there.

mod backports;

use crate::drivers::Drivers;
use crate::machine::Machine;
use crate::{Stop, run};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

const DRIVER_PACKAGES: &[&str] = &["mesa-vulkan-drivers", "libgl1-mesa-dri", "libvulkan1", "libegl1"];
const BROWSER_PACKAGES: &[&str] = &["chromium"];
const NODE_PACKAGES: &[&str] = &["nodejs", "npm"];
const PYTHON_PACKAGES: &[&str] = &["python3", "python3-venv"];

/// Exit code where no adapter can be had.
const NO_ADAPTER: u8 = 4;

/// What a task needs beside Rust.
#[derive(Clone, Copy)]
pub(crate) struct Needs {
    /// Chromium, node to drive it, and Python.
    browser: bool,
}

impl Needs {
    pub(crate) const DEMO: Self = Self { browser: false };
    pub(crate) const TEST: Self = Self { browser: true };
}

/// Where Chromium is.
pub(crate) fn browser(machine: &Machine) -> Option<PathBuf> {
    let named = machine.variable("CHROMIUM").map(|path| machine.path(path)).filter(|path| path.is_file());
    named.or_else(|| machine.program(&["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]))
}

/// The packages, by Debian's names, that are missing.
fn missing(machine: &Machine, needs: Needs) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if cfg!(target_os = "linux") && !Drivers::find(machine).usable() {
        packages.extend(DRIVER_PACKAGES);
    }
    if needs.browser && browser(machine).is_none() {
        packages.extend(BROWSER_PACKAGES);
    }
    // Node's own packages bring npm along: ask apt for it only where there is neither.
    if needs.browser && machine.program(&["node"]).is_none() {
        packages.extend(NODE_PACKAGES);
    }
    if needs.browser && machine.program(&["python3", "python"]).is_none() {
        packages.extend(PYTHON_PACKAGES);
    }
    packages
}

/// Installs what is missing, or says what the user should install. An error only where no Vulkan driver can be had.
pub(crate) fn ensure(machine: &Machine, needs: Needs, yes: bool) -> Result<(), Stop> {
    let packages = missing(machine, needs);
    if packages.is_empty() {
        return report(machine, needs);
    }
    println!("Missing on this machine: {}.", packages.join(" "));
    match machine.has_apt().then(|| machine.root_prefix()).flatten() {
        Some(prefix) => {
            let question = "Install them with apt (and, where Debian's Mesa is old, add its backports suite)?";
            if machine.consents(yes, question) {
                install(machine, &prefix, &packages);
            } else {
                println!(
                    "Not installed without consent: pass --yes, or do it yourself.\n{}",
                    advice(machine, &packages)
                );
            }
        }
        None => println!("They cannot be installed from here. {}", advice(machine, &packages)),
    }
    report(machine, needs)
}

/// Says what is there.
fn report(machine: &Machine, needs: Needs) -> Result<(), Stop> {
    if cfg!(target_os = "linux") {
        let drivers = Drivers::find(machine);
        let files = if needs.browser { drivers.for_tests() } else { drivers.for_programs() };
        if drivers.usable() {
            let kind = if drivers.hardware { "with a GPU's device node" } else { "in software" };
            println!("Vulkan: a driver is installed, {kind}.");
        } else if let Some(files) = &files {
            println!("Vulkan: only the browser's software driver is there, {files}; it is used.");
        } else {
            let advice = advice(machine, DRIVER_PACKAGES);
            return Err(Stop::new(NO_ADAPTER, format!("No Vulkan driver on this machine. {advice}")));
        }
    }
    if needs.browser {
        match browser(machine) {
            Some(path) => println!("Browser: {}.", path.display()),
            None => println!("Browser: none; the browser suites will fail."),
        }
    }
    Ok(())
}

/// What to type on this system.
fn advice(machine: &Machine, packages: &[&str]) -> String {
    let has = |name: &str| machine.program(&[name]).is_some();
    let browser = packages.contains(&"chromium");
    let with = |driver: &str, extra: &str| {
        if browser { format!("{driver} {extra}") } else { driver.to_owned() }
    };
    if cfg!(target_os = "macos") {
        "Metal comes with macOS; for the browser suites: brew install --cask chromium && brew install node".to_owned()
    } else if cfg!(windows) {
        "DX12 comes with Windows; for the browser suites: winget install Google.Chrome OpenJS.NodeJS.LTS, and set \
         CHROMIUM to chrome.exe"
            .to_owned()
    } else if has("apt-get") {
        format!("As root: apt-get update && apt-get install {}", packages.join(" "))
    } else if has("dnf") {
        format!(
            "As root: dnf install {}",
            with("mesa-vulkan-drivers vulkan-loader mesa-dri-drivers mesa-libEGL", "chromium nodejs")
        )
    } else if has("pacman") {
        format!("As root: pacman -S {}", with("vulkan-swrast vulkan-icd-loader mesa", "chromium nodejs npm"))
    } else if has("zypper") {
        format!(
            "As root: zypper install {}",
            with("libvulkan_lvp libvulkan1 Mesa-dri Mesa-libEGL1", "chromium nodejs npm")
        )
    } else {
        format!(
            "Install {} for your system: a Vulkan driver such as Mesa's lavapipe, and the loader.",
            packages.join(" ")
        )
    }
}

/// Installs packages with apt. A failure is told, and the caller looks at what is there afterwards.
fn install(machine: &Machine, prefix: &[String], packages: &[&'static str]) {
    let root = |arguments: &[&str]| {
        let mut words = prefix.to_vec();
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive"].map(str::to_owned));
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        let mut command = run::command(&words[0]);
        command.args(&words[1..]);
        run::run(&mut command)
    };
    let tell = |outcome: Result<(), String>| {
        if let Err(error) = &outcome {
            println!("{error}");
        }
        outcome.is_ok()
    };
    tell(root(&["apt-get", "update", "--quiet"]));

    let mut driver = packages.contains(&"mesa-vulkan-drivers");
    if driver && let Some(backports) = backports::wanted(machine) {
        println!(
            "Debian's own Mesa is {}: the software driver of its backports suite is much faster.",
            backports.candidate
        );
        let file = backports::FILE;
        println!("Adding the suite {} in {file}:\n{}", backports.suite, backports.text.trim_end());
        let written = write_as_root(prefix, file, &backports.text);
        let mut words =
            vec!["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "-t", &backports.suite];
        words.extend(DRIVER_PACKAGES);
        let installed = tell(written) && tell(root(&["apt-get", "update", "--quiet"])) && tell(root(&words));
        if installed {
            driver = false;
        } else {
            println!("Backports do not work here: removing {file} again, and taking the stable driver.");
            tell(root(&["rm", "-f", file]));
            tell(root(&["apt-get", "update", "--quiet"]));
        }
    }
    let rest: Vec<&str> = packages.iter().copied().filter(|name| driver || !DRIVER_PACKAGES.contains(name)).collect();
    if !rest.is_empty() {
        let mut words = vec!["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"];
        words.extend(rest);
        tell(root(&words));
    }
}

fn write_as_root(prefix: &[String], file: &str, text: &str) -> Result<(), String> {
    let mut words = prefix.to_vec();
    words.extend(["tee".to_owned(), file.to_owned()]);
    let mut command = run::command(&words[0]);
    let fault = |error: std::io::Error| format!("{file} cannot be written: {error}");
    let mut child = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(fault)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(fault)?;
    }
    let status = child.wait().map_err(fault)?;
    if status.success() { Ok(()) } else { Err(format!("{file} cannot be written: tee ended with {status}")) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    const FILES: &[(&str, &str)] = &[
        ("/usr/lib/x86_64-linux-gnu/libvulkan.so.1", ""),
        ("/usr/share/vulkan/icd.d/lvp_icd.json", "{}"),
        ("/usr/bin/chromium", ""),
        ("/usr/bin/node", ""),
        ("/usr/bin/python3", ""),
    ];

    #[test]
    fn a_complete_machine_misses_nothing() {
        let fake = Fake::new("complete", FILES, &[("PATH", "/bin:/usr/bin")]);
        assert_eq!(missing(&fake.0, Needs::TEST), Vec::<&str>::new());
        assert_eq!(browser(&fake.0), Some(fake.0.path("/usr/bin/chromium")));
    }

    #[test]
    fn each_task_misses_only_its_own_needs() {
        let fake = Fake::new("empty", &[("/usr/bin/apt-get", "")], &[("PATH", "/usr/bin")]);
        assert_eq!(missing(&fake.0, Needs::DEMO), DRIVER_PACKAGES);
        let all = missing(&fake.0, Needs::TEST);
        let others = ["chromium", "nodejs", "npm", "python3", "python3-venv"];
        assert!(all.starts_with(DRIVER_PACKAGES) && all.ends_with(&others), "{all:?}");
    }

    #[test]
    fn without_a_driver_the_task_stops_with_advice() {
        let fake = Fake::new("stop", &[("/usr/bin/dnf", "")], &[("PATH", "/usr/bin")]);
        let Err(stop) = ensure(&fake.0, Needs::DEMO, true) else { panic!("no driver is there") };
        assert_eq!(stop.code, NO_ADAPTER);
        assert!(stop.message.contains("dnf install mesa-vulkan-drivers"), "{}", stop.message);
    }

    #[test]
    fn consent_is_a_flag_or_ci() {
        let ask = |variables: &[(&str, &str)], yes| Fake::new("consent", &[], variables).0.consents(yes, "?");
        assert!(ask(&[], true));
        assert!(ask(&[("CI", "true")], false));
    }
}
