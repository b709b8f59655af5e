//! Debian's backports suite, as a package source derived from the ones the machine has.

use crate::machine::Machine;
use crate::run;

/// The package source that is added.
pub(super) const FILE: &str = "/etc/apt/sources.list.d/iresnet-backports.sources";

/// The first Mesa whose software driver is fast; older ones run well-tiled convolutions at a third of the speed.
const GOOD_MESA: u32 = 25;

/// A source to add.
#[derive(Debug, PartialEq)]
pub(super) struct Backports {
    /// Such as `bookworm-backports`.
    pub(super) suite: String,
    /// Text of the `.sources` file.
    pub(super) text: String,
    /// The Mesa version that apt would install without it.
    pub(super) candidate: String,
}

/// The source to add on this machine: only on Debian stable releases whose Mesa is old, and not if it is there already.
pub(super) fn wanted(machine: &Machine) -> Option<Backports> {
    let candidate = candidate(&run::output("apt-cache", &["policy", "mesa-vulkan-drivers"])?)?;
    derive(machine, candidate)
}

fn derive(machine: &Machine, candidate: String) -> Option<Backports> {
    if machine.os_release("ID")? != "debian" || major(&candidate)? >= GOOD_MESA {
        return None;
    }
    let codename = machine.os_release("VERSION_CODENAME")?;
    let suite = format!("{codename}-backports");
    let mut texts = vec![(machine.path("/etc/apt/sources.list"), false)];
    texts.extend(machine.list("/etc/apt/sources.list.d").into_iter().map(|path| {
        let deb822 = path.extension().is_some_and(|extension| extension == "sources");
        (path, deb822)
    }));
    let texts: Vec<_> =
        texts.iter().filter_map(|(path, deb822)| Some((std::fs::read_to_string(path).ok()?, *deb822))).collect();
    if texts.iter().any(|(text, _)| text.contains(&suite)) {
        return None;
    }
    let text = texts.iter().find_map(|(text, deb822)| {
        if *deb822 { from_stanza(text, &codename, &suite) } else { from_line(text, &codename, &suite) }
    })?;
    Some(Backports { suite, text, candidate })
}

/// The stanza of a `.sources` file that has the stable suite, with its `Suites` replaced.
fn from_stanza(text: &str, codename: &str, suite: &str) -> Option<String> {
    let is_suites = |line: &str| line.to_ascii_lowercase().starts_with("suites:");
    let stanza = text.split("\n\n").find(|stanza| {
        let suites = stanza.lines().find(|line| is_suites(line));
        suites.is_some_and(|line| line.split_whitespace().any(|word| word == codename))
    })?;
    let lines = stanza.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| if is_suites(line) { format!("Suites: {suite}\n") } else { format!("{line}\n") });
    Some(lines.collect())
}

/// The same from the older form, `deb [options] URI SUITE COMPONENT…`.
fn from_line(text: &str, codename: &str, suite: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        if words.next()? != codename {
            return None;
        }
        let key = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let signed = key.map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
        Some(format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n{signed}"))
    })
}

/// The version apt would install, from the output of `apt-cache policy`.
fn candidate(policy: &str) -> Option<String> {
    policy.lines().find_map(|line| Some(line.trim().strip_prefix("Candidate:")?.trim().to_owned()))
}

fn major(version: &str) -> Option<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    upstream.split('.').next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    const DEBIAN: (&str, &str) = ("/etc/os-release", "NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=bookworm\n");
    const SOURCES: &str = "# a mirror\nTypes: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\n\
                           Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                           Types: deb\nURIs: http://deb.debian.org/debian-security\nSuites: bookworm-security\n\
                           Components: main\n";
    const FILE_PATH: &str = "/etc/apt/sources.list.d/debian.sources";
    const OLD: &str = "22.3.6-1+deb12u1";

    #[test]
    fn the_suite_is_derived_from_the_machines_own_source() {
        let fake = Fake::new("derive", &[DEBIAN, (FILE_PATH, SOURCES)], &[]);
        let found = derive(&fake.0, OLD.to_owned()).expect("an old Debian");
        assert_eq!(found.suite, "bookworm-backports");
        let expected = "# a mirror\nTypes: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm-backports\n\
                        Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(found.text, expected);
    }

    #[test]
    fn the_older_form_is_understood() {
        let line = "deb [arch=amd64 signed-by=/k.gpg] https://mirror/debian bookworm main contrib\n";
        let fake = Fake::new("older", &[DEBIAN, ("/etc/apt/sources.list", line)], &[]);
        let found = derive(&fake.0, OLD.to_owned()).expect("an old Debian");
        assert_eq!(
            found.text,
            "Types: deb\nURIs: https://mirror/debian\nSuites: bookworm-backports\nComponents: main\nSigned-By: /k.gpg\n"
        );
    }

    #[test]
    fn nothing_is_added_without_need() {
        let fake = Fake::new("new-mesa", &[DEBIAN, (FILE_PATH, SOURCES)], &[]);
        assert_eq!(derive(&fake.0, "1:25.0.7-2".to_owned()), None);
        let there = ("/etc/apt/sources.list.d/backports.sources", "Types: deb\nSuites: bookworm-backports\n");
        let fake = Fake::new("there", &[DEBIAN, (FILE_PATH, SOURCES), there], &[]);
        assert_eq!(derive(&fake.0, OLD.to_owned()), None);
        let fake = Fake::new("ubuntu", &[("/etc/os-release", "ID=ubuntu\nVERSION_CODENAME=jammy\n")], &[]);
        assert_eq!(derive(&fake.0, OLD.to_owned()), None);
    }

    #[test]
    fn versions_are_read() {
        let policy = "mesa-vulkan-drivers:\n  Installed: (none)\n  Candidate: 22.3.6-1+deb12u1\n  Version table:\n";
        assert_eq!(candidate(policy).as_deref(), Some(OLD));
        assert_eq!((major(OLD), major("1:25.0"), major("(none)")), (Some(22), Some(25), None));
    }
}
